/**
 * The work of a leader, for a judge outside of the engine. It writes a line every 20 ms to a Unix socket: the name of its host, its
 * fencing token, and the time of the monotonic clock in milliseconds. All hosts of a machine share that clock.
 *
 * Arguments: the socket, the name of the host, and what it does: `ends` at SIGTERM, `stubborn` ignores it, and a number of
 * milliseconds is how long it works.
 */
const net = require("node:net")

const [, , path, host, mode] = process.argv
const token = process.env.GATEWAY_FENCING_TOKEN
const socket = net.connect(path)
const now = () => Number(process.hrtime.bigint()) / 1e6
const stamp = () => {
  const at = now()
  socket.write(`${host} ${token} ${at} ${at}\n`)
}

if (mode === "stubborn") process.on("SIGTERM", () => {})
socket.on("connect", () => {
  process.stderr.write(`child ${process.pid}\n`)
  stamp()
  setInterval(stamp, 20)
  if (/^\d+$/.test(mode)) setTimeout(() => socket.end(() => process.exit(0)), Number(mode))
})
