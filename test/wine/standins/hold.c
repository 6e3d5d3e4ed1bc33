/*
 * hold.exe <path> <milliseconds> [undeleted]: opens a file without sharing it, and closes it after this time. A virus scanner
 * or a backup program does the same. Meanwhile every other open fails with a sharing violation. With "undeleted", other
 * programs may read and write the file, but not delete it.
 *
 * Waits until the file can be opened in this way, then writes "held".
 */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

int wmain(int argc, wchar_t **argv) {
  HANDLE file;
  if (argc < 3) return 2;
  DWORD shared = argc > 3 ? FILE_SHARE_READ | FILE_SHARE_WRITE : 0;
  while ((file = CreateFileW(argv[1], GENERIC_READ, shared, NULL, OPEN_EXISTING, 0, NULL)) == INVALID_HANDLE_VALUE) Sleep(1);
  fprintf(stderr, "held\n");
  fflush(stderr);
  Sleep(wcstoul(argv[2], NULL, 10));
  CloseHandle(file);
  return 0;
}
