import { fastify } from "fastify"
import { acquire, isGatewayLockError } from "gateway-lock/promise"

const lock = await acquire({ port: process.env.PORT ?? 3000, profile: "hello" }).catch((error) => {
  console.error(isGatewayLockError(error) ? error.report : error)
  process.exit(1)
})

const app = fastify()
app.get("/hello", async () => "world")
app.addHook("onListen", () => lock.listening())
// Fastify runs this hook once its HTTP server is closed.
app.addHook("onClose", () => lock.release())

const close = () => app.close()
process.once("SIGTERM", close).once("SIGINT", close)
lock.signal.addEventListener("abort", close)

await app.listen({ port: lock.port, host: lock.host })
