/**
 * A command for `gateway exec --listen`. It serves on every socket that was passed to it (sd_listen_fds(3)), and answers each
 * request with JSON: its pid, and the variables `LISTEN_*` that it got. It writes `child <pid>` to stderr once it listens. It exits
 * with status 3 at the first SIGUSR1.
 */
const { createServer } = require("node:http")

const { LISTEN_FDNAMES, LISTEN_FDS, LISTEN_PID, PORT } = process.env
process.on("SIGUSR1", () => process.exit(3))
const listen = (left) => {
  if (left === 0) return process.stderr.write(`child ${process.pid}\n`)
  createServer((request, response) => {
    response.end(JSON.stringify({ pid: process.pid, LISTEN_FDNAMES, LISTEN_FDS, LISTEN_PID, PORT }))
  }).listen({ fd: 2 + left }, () => listen(left - 1))
}
listen(Number(LISTEN_FDS))
