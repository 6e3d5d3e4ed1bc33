import express from "express"
import { acquire, isGatewayLockError } from "gateway-lock/promise"

const lock = await acquire({ port: process.env.PORT ?? 3000, profile: "hello" }).catch((error) => {
  console.error(isGatewayLockError(error) ? error.report : error)
  process.exit(1)
})

const app = express()
app.get("/hello", (request, response) => response.send("world"))

const server = app.listen(lock.port, lock.host)
server.on("listening", () => lock.listening())
server.on("close", () => lock.release())

const close = () => server.close()
process.once("SIGTERM", close).once("SIGINT", close)
lock.signal.addEventListener("abort", close)
