import express from "express"
import { acquire, isGatewayLockError } from "gateway-lock/promise"
import { once } from "node:events"

const main = async () => {
  await using lock = await acquire({ port: process.env.PORT ?? 3000, profile: "hello" })

  const app = express()
  app.get("/hello", (_, response) => {
    response.send("world")
  })

  const server = app.listen(lock.port, lock.host)
  const closed = new Promise((resolve) => server.once("close", resolve))
  const close = () => server.close()
  process.once("SIGTERM", close).once("SIGINT", close)
  lock.signal.addEventListener("abort", close)
  await once(server, "listening")
  await lock.listening()

  // The lock is released at the end of this function, so the function must not end before the server.
  await closed
}

main().catch((error) => {
  console.error(isGatewayLockError(error) ? error.report : error)
  process.exitCode = 1
})
