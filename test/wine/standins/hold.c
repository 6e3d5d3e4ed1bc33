/*
 * hold.exe <path> <milliseconds> [undeleted]: opens a file without sharing it, for so long, as a virus scanner or a backup does.
 * Every other open fails with a sharing violation meanwhile. With "undeleted" others may read and write it, but not delete it.
 *
 * Waits until the file can be opened so, then writes "held".
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
