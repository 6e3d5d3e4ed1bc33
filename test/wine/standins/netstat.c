/*
 * Replaces `netstat.exe -ano`, which does nothing in wine. Prints the listening sockets as a German Windows does (code page
 * 850), because the gateway must not depend on the language.
 *
 * The sockets are from the same table that Windows' own netstat reads. In wine that table does not name the processes. So this
 * program looks at all open handles, and finds those that are sockets which are bound and not connected.
 */
#include <stdio.h>
#include <stdlib.h>
#include <winsock2.h>
#include <ws2tcpip.h>
#include <iphlpapi.h>
#include <windows.h>
#include <winternl.h>

#define SYSTEM_EXTENDED_HANDLE_INFORMATION 64
#define STATUS_TOO_SMALL ((NTSTATUS)0xC0000004)

typedef struct {
  PVOID object;
  ULONG_PTR pid, handle;
  ULONG access;
  USHORT trace, type;
  ULONG attributes, reserved;
} Handle;

typedef struct {
  ULONG_PTR count, reserved;
  Handle handles[];
} Handles;

static Handles *handles(void) {
  ULONG size = 1 << 18, needed;
  Handles *all = malloc(size);
  NTSTATUS status;
  while (all && (status = NtQuerySystemInformation(SYSTEM_EXTENDED_HANDLE_INFORMATION, all, size, &needed)) == STATUS_TOO_SMALL) {
    size *= 2;
    all = realloc(all, size);
  }
  return all && status == 0 ? all : NULL;
}

typedef struct {
  int family;
  u_short port;
  DWORD pid;
} Owner;

static Owner owners[256];
static int ownerCount;

/*
 * Records a socket and its process, if the socket is bound and not connected. The port is at the same offset in IPv4 and IPv6
 * addresses.
 */
static void note(SOCKET socket, DWORD pid) {
  struct sockaddr_in6 name, peer;
  int length = sizeof name, peerLength = sizeof peer;
  if (ownerCount < 256 && getsockname(socket, (struct sockaddr *)&name, &length) == 0 && name.sin6_port != 0
    && getpeername(socket, (struct sockaddr *)&peer, &peerLength) != 0)
    owners[ownerCount++] = (Owner){name.sin6_family, name.sin6_port, pid};
}

static void findOwners(void) {
  Handles *all = handles();
  HANDLE process = NULL;
  DWORD pid = 0;
  for (ULONG_PTR i = 0; all && i < all->count; i++) {
    HANDLE copy;
    if (all->handles[i].pid != pid) {
      if (process) CloseHandle(process);
      pid = (DWORD)all->handles[i].pid;
      process = OpenProcess(PROCESS_DUP_HANDLE, FALSE, pid);
    }
    if (!process || !DuplicateHandle(process, (HANDLE)all->handles[i].handle, GetCurrentProcess(), &copy, 0, FALSE,
      DUPLICATE_SAME_ACCESS)) continue;
    /* GetFileType returns FILE_TYPE_PIPE for a socket. */
    if (GetFileType(copy) == FILE_TYPE_PIPE) note((SOCKET)copy, pid);
    CloseHandle(copy);
  }
  if (process) CloseHandle(process);
}

/* The pid of the process that listens on a port; 0 if none was found. `port` is in network byte order. */
static DWORD ownerOf(int family, u_short port) {
  for (int i = 0; i < ownerCount; i++)
    if (owners[i].family == family && owners[i].port == port) return owners[i].pid;
  return 0;
}

static void *table(ULONG family) {
  ULONG size = 0;
  void *rows = NULL;
  while (GetExtendedTcpTable(rows, &size, FALSE, family, TCP_TABLE_OWNER_PID_LISTENER, 0) == ERROR_INSUFFICIENT_BUFFER) {
    rows = realloc(rows, size);
    if (!rows) return NULL;
  }
  return rows;
}

static void print(const char *local, const char *remote, DWORD pid) {
  printf("  TCP    %-22s %-22s ABH\x99REN         %lu\r\n", local, remote, pid);
}

int main(void) {
  char address[INET6_ADDRSTRLEN], local[INET6_ADDRSTRLEN + 16];
  WSADATA data;
  if (WSAStartup(MAKEWORD(2, 2), &data) != 0) return 1;
  findOwners();
  printf("\r\nAktive Verbindungen\r\n\r\n  Proto  Lokale Adresse         Remoteadresse          Status           PID\r\n");
  MIB_TCPTABLE_OWNER_PID *v4 = table(AF_INET);
  for (DWORD i = 0; v4 && i < v4->dwNumEntries; i++) {
    MIB_TCPROW_OWNER_PID *row = &v4->table[i];
    u_short port = (u_short)row->dwLocalPort;
    struct in_addr ip = {.S_un.S_addr = row->dwLocalAddr};
    snprintf(local, sizeof local, "%s:%u", inet_ntop(AF_INET, &ip, address, sizeof address), ntohs(port));
    print(local, "0.0.0.0:0", row->dwOwningPid ? row->dwOwningPid : ownerOf(AF_INET, port));
  }
  MIB_TCP6TABLE_OWNER_PID *v6 = table(AF_INET6);
  for (DWORD i = 0; v6 && i < v6->dwNumEntries; i++) {
    MIB_TCP6ROW_OWNER_PID *row = &v6->table[i];
    u_short port = (u_short)row->dwLocalPort;
    snprintf(local, sizeof local, "[%s]:%u", inet_ntop(AF_INET6, row->ucLocalAddr, address, sizeof address), ntohs(port));
    print(local, "[::]:0", row->dwOwningPid ? row->dwOwningPid : ownerOf(AF_INET6, port));
  }
  return 0;
}
