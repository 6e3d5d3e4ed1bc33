/*
 * Replaces powershell.exe, which does nothing in wine. It answers the only question of the gateway: a list of all processes.
 *
 * The answer is JSON in the form of `ConvertTo-Json -Compress`. `Created` is an ISO 8601 time in UTC, in the form of .NET's
 * format "o". It is null for a process that cannot be opened.
 *
 * The settings are files in the working directory, which is that of the gateway. They are not environment variables, because the
 * gateway passes only a few variables on to its programs.
 *   powershell.delay   how many milliseconds each call takes before it answers
 *   powershell.log     gets a line for each call: the command
 */
#include <stdio.h>
#include <string.h>
#include <windows.h>
#include <tlhelp32.h>

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

static void printCreated(DWORD pid) {
  FILETIME created, exited, kernel, user;
  SYSTEMTIME at;
  HANDLE process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, pid);
  int known = process && GetProcessTimes(process, &created, &exited, &kernel, &user) && FileTimeToSystemTime(&created, &at);
  if (process) CloseHandle(process);
  if (!known) {
    printf("null");
    return;
  }
  unsigned long long ticks = ((unsigned long long)created.dwHighDateTime << 32) | created.dwLowDateTime;
  printf("\"%04u-%02u-%02uT%02u:%02u:%02u.%07lluZ\"", at.wYear, at.wMonth, at.wDay, at.wHour, at.wMinute, at.wSecond,
    ticks % 10000000ULL);
}

int main(int argc, char **argv) {
  char command[8192] = "";
  for (int i = 1; i < argc; i++) {
    strncat(command, argv[i], sizeof command - strlen(command) - 2);
    strcat(command, " ");
  }
  note(command);
  delay();
  if (!strstr(command, "Win32_Process")) return 1;
  HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
  if (snapshot == INVALID_HANDLE_VALUE) return 1;
  PROCESSENTRY32 entry = {.dwSize = sizeof entry};
  int count = 0;
  printf("[");
  for (BOOL more = Process32First(snapshot, &entry); more; more = Process32Next(snapshot, &entry)) {
    printf("%s{\"ProcessId\":%lu,\"Name\":\"%s\",\"Created\":", count++ ? "," : "", entry.th32ProcessID, entry.szExeFile);
    printCreated(entry.th32ProcessID);
    printf("}");
  }
  printf("]\n");
  CloseHandle(snapshot);
  return 0;
}
