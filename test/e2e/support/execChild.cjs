/**
 * A command for `gateway exec`. It writes `child <pid>` to stderr when it is set up. It writes `got <signal>` for each signal that
 * it gets, and exits at the first SIGUSR1 after it has written how many SIGINT it got. Each argument adds a behavior:
 *
 * - `listen`: it listens on PORT. `/ready` answers 503 before the first SIGUSR2, then 200.
 * - `ends`: it keeps the default action of all signals.
 */
const { createServer } = require("node:http")

const does = new Set(process.argv.slice(2))
const say = (line) => process.stderr.write(`${line}\n`)

let ints = 0
let isReady = false
if (!does.has("ends")) {
  for (const signal of ["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT"]) {
    process.on(signal, () => {
      if (signal === "SIGINT") ints += 1
      if (signal === "SIGUSR2") isReady = true
      say(`got ${signal}`)
      if (signal !== "SIGUSR1") return
      say(`SIGINT: ${ints}`)
      process.exit(0)
    })
  }
}
setInterval(() => {}, 60_000)

if (does.has("listen")) {
  const server = createServer((request, response) => {
    response.statusCode = request.url === "/ready" && !isReady ? 503 : 200
    response.end("ok")
  })
  server.on("error", (error) => {
    say(error.code)
    process.exit(7)
  })
  server.listen(Number(process.env.PORT), "127.0.0.1", () => say(`child ${process.pid}`))
} else say(`child ${process.pid}`)
