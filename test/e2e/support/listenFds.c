/*
 * A command for `gateway exec --listen`. It checks the variables of sd_listen_fds(3) as that function does, and answers each
 * connection on descriptor 3 with one line. accept(2) is called before there is a connection, so it fails with EAGAIN if the socket
 * is in non-blocking mode. Each argument is a number of connections to answer; after them the program exits with status 5.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
  const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
  int accepts = 0;
  socklen_t size = sizeof accepts;
  if (pid == NULL || count == NULL || atoi(pid) != (int) getpid() || atoi(count) < 1) return 6;
  if (getsockopt(3, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &size) != 0 || !accepts) return 7;
  fprintf(stderr, "child %d\n", (int) getpid());
  for (int left = argc > 1 ? atoi(argv[1]) : 1; left > 0; left--) {
    int client = accept(3, NULL, NULL);
    if (client < 0) {
      fprintf(stderr, "accept: %s\n", strerror(errno));
      return 8;
    }
    if (write(client, "hello from C\n", 13) != 13) return 9;
    close(client);
  }
  return 5;
}
