import { acquire, isGatewayLockError } from "gateway-lock/promise"
import { once } from "node:events"
import { createServer } from "node:http"

const main = async () => {
  await using lock = await acquire({ port: process.env.PORT ?? 3000, profile: "hello" })

  const server = createServer((_, response) => {
    response.end("world")
  })
  const closed = new Promise((resolve) => server.once("close", resolve))
  const close = () => server.close()
  process.once("SIGTERM", close).once("SIGINT", close)
  // The option `signal` of `listen` closes the server when the lock is lost.
  server.listen({ port: lock.port, host: lock.host, signal: lock.signal })
  await once(server, "listening")
  await lock.listening()

  await closed
}

main().catch((error) => {
  console.error(isGatewayLockError(error) ? error.report : error)
  process.exitCode = 1
})
