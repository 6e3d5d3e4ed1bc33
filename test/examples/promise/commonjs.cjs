const { createServer } = require("node:http")

const main = async () => {
  const { acquire } = await import("gateway-lock/promise")
  const lock = await acquire({ port: process.env.PORT ?? 3000, profile: "hello" })

  const server = createServer((request, response) => response.end("world"))
  server.listen({ port: lock.port, host: lock.host, signal: lock.signal }, lock.listening)
  server.on("close", lock.release)

  const close = () => server.close()
  process.once("SIGTERM", close).once("SIGINT", close)
}

main().catch((error) => {
  console.error(error.report ?? error)
  process.exitCode = 1
})
