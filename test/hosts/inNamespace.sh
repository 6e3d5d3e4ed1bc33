#!/bin/sh
# Runs a command in a network namespace of its own, where a test may make interfaces and cut links. The kernel removes all of them with
# the last process. Without root or unshare(1), the command runs in the network of this machine, and such tests are skipped.
# A test compares the network of the machine with its own before it changes anything.
GATEWAY_HOSTS_OUTSIDE=$(readlink /proc/self/ns/net)
export GATEWAY_HOSTS_OUTSIDE
if unshare --net true 2>/dev/null; then
  # shellcheck disable=SC2016 -- expanded by the inner shell
  exec unshare --net sh -c 'ip link set lo up && exec "$@"' sh "$@"
fi
exec "$@"
