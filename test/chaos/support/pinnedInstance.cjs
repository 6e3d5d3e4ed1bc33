// Loaded into a gateway that runs under strace. It fixes the instance id, so that the test knows the names of the draft files
// before the start. strace needs these names as arguments.
require("node:crypto").randomUUID = () => process.env["PINNED_INSTANCE"]

// With `POOLED_FILES`, the gateway cannot see which file system it uses, so it makes all calls in the thread pool. That pool has one
// thread, and strace counts the calls of each thread. So the n-th call of a name is then one call, and not one of each thread.
if (process.env["POOLED_FILES"] !== undefined) {
  const fs = require("node:fs")
  const { readFileSync } = fs
  fs.readFileSync = (path, ...others) => {
    if (path === "/proc/self/mountinfo") throw new Error("hidden by the test")
    return readFileSync(path, ...others)
  }
}
