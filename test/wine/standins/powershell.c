/*
 * Stands in for powershell.exe, which is empty in wine. It answers what the gateway asks about processes.
 *
 * Every number after "ProcessId" or "Id" in the command is a pid. The answer is JSON as `ConvertTo-Json -Compress` writes it:
 * an object for one process, an array for several, nothing for none. `Created` is in milliseconds since the epoch.
 *
 * In its working directory, which is the gateway's (a variable would not do: the gateway passes few of its own on):
 *   powershell.delay   how many milliseconds each call takes before it answers
 *   powershell.log     gets a line for each call: the command
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define MAX_PIDS 64

/* Between the epochs of Windows (1601) and Unix (1970), in units of 100 ns. */
#define EPOCHS 116444736000000000ULL

static void delay(void) {
  unsigned long milliseconds = 0;
  FILE *file = fopen("powershell.delay", "r");
  if (!file) return;
  if (fscanf(file, "%lu", &milliseconds) != 1) milliseconds = 0;
  fclose(file);
  Sleep(milliseconds);
}

static void note(const char *command) {
  FILE *file = fopen("powershell.log", "a");
  if (!file) return;
  fprintf(file, "%s\n", command);
  fclose(file);
}

/* The pids after a word: "ProcessId=4", "ProcessId = '4'", "-Id 4,8". */
static int pidsIn(const char *command, DWORD *pids) {
  int count = 0;
  for (const char *at = command; (at = strstr(at, "Id")) != NULL;) {
    at += 2;
    for (;;) {
      while (*at == ' ' || *at == '=' || *at == '\'' || *at == '"' || *at == ',' || *at == '(' || *at == '@') at++;
      if (!isdigit((unsigned char)*at) || count == MAX_PIDS) break;
      char *end;
      pids[count++] = strtoul(at, &end, 10);
      at = end;
    }
  }
  return count;
}

/* Writes the JSON of one process; returns 0 if there is none under that pid. */
static int describe(DWORD pid, char *json, size_t size) {
  FILETIME created, exited, kernel, user;
  char path[MAX_PATH];
  DWORD length = sizeof path, status = 0;
  HANDLE process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, pid);
  if (!process) return 0;
  int exists = GetExitCodeProcess(process, &status) && status == STILL_ACTIVE
    && GetProcessTimes(process, &created, &exited, &kernel, &user) && QueryFullProcessImageNameA(process, 0, path, &length);
  CloseHandle(process);
  if (!exists) return 0;
  const char *slash = strrchr(path, '\\');
  unsigned long long ticks = ((unsigned long long)created.dwHighDateTime << 32) | created.dwLowDateTime;
  snprintf(json, size, "{\"ProcessId\":%lu,\"Name\":\"%s\",\"Created\":%llu}", pid, slash ? slash + 1 : path,
    (ticks - EPOCHS) / 10000);
  return 1;
}

int main(int argc, char **argv) {
  DWORD pids[MAX_PIDS];
  char command[8192] = "", found[MAX_PIDS][512];
  int described = 0;
  for (int i = 1; i < argc; i++) {
    strncat(command, argv[i], sizeof command - strlen(command) - 2);
    strcat(command, " ");
  }
  note(command);
  delay();
  int count = pidsIn(command, pids);
  for (int i = 0; i < count; i++) described += describe(pids[i], found[described], sizeof found[0]);
  if (described > 1) printf("[");
  for (int i = 0; i < described; i++) printf("%s%s", i ? "," : "", found[i]);
  if (described > 1) printf("]");
  if (described > 0) printf("\n");
  return 0;
}
