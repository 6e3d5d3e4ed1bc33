/*
 * end.exe <pid>: ends a process by TerminateProcess. A crash, `taskkill /F` and the Task Manager have the same effect.
 */
#include <stdlib.h>
#include <windows.h>

int main(int argc, char **argv) {
  HANDLE process = OpenProcess(PROCESS_TERMINATE | SYNCHRONIZE, FALSE, argc == 2 ? strtoul(argv[1], NULL, 10) : 0);
  if (!process || !TerminateProcess(process, 1)) return 1;
  return WaitForSingleObject(process, 20000) == WAIT_OBJECT_0 ? 0 : 1;
}
