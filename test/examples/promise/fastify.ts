import { fastify } from "fastify"
import { acquire, isGatewayLockError } from "gateway-lock/promise"

const main = async () => {
  await using lock = await acquire({ port: process.env.PORT ?? 3000, profile: "hello" })

  const app = fastify()
  app.get("/hello", async () => "world")

  const closed = new Promise((resolve) => app.server.once("close", resolve))
  const close = () => void app.close()
  process.once("SIGTERM", close).once("SIGINT", close)
  lock.signal.addEventListener("abort", close)
  await app.listen({ port: lock.port, host: lock.host })
  await lock.listening()

  await closed
}

main().catch((error) => {
  console.error(isGatewayLockError(error) ? error.report : error)
  process.exitCode = 1
})
