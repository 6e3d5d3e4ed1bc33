import { acquire, isGatewayLockError } from "gateway-lock/promise"
import { createServer } from "node:http"

const lock = await acquire({ port: process.env.PORT ?? 3000, profile: "hello" }).catch((error) => {
  console.error(isGatewayLockError(error) ? error.report : error)
  process.exit(1)
})

const server = createServer((request, response) => response.end("world"))
// The option `signal` of `listen` closes the server when the lock is lost.
server.listen({ port: lock.port, host: lock.host, signal: lock.signal }, lock.listening)
server.on("close", lock.release)

const close = () => server.close()
process.once("SIGTERM", close).once("SIGINT", close)
