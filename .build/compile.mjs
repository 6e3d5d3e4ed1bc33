// Runs one scene of the program in this process, and keeps the code that V8 compiled for it.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createServer, get } from "node:http"
import { createServer as createTcpServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { loadProgram } from "../dist/internal/programLoader.js"

const scene = process.argv[2]
const state = mkdtempSync(join(tmpdir(), "gateway-lock-build-"))

const freePort = () =>
  new Promise((resolve) => {
    const server = createTcpServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })

const occupiedPort = () =>
  new Promise((resolve) => {
    const body = JSON.stringify({ ok: true, status: "live", instanceId: "build" })
    const server = createServer((_, response) => response.end(body)).listen(0, "127.0.0.1", () => {
      server.unref()
      resolve(server.address().port)
    })
  })

const port = await (scene === "refused" ? occupiedPort() : freePort())
const deadline = Date.now() + 20_000

const stopWhenHealthy = () => {
  if (Date.now() > deadline) throw new Error(`gateway on port ${port} did not become healthy`)
  get({ port, host: "127.0.0.1", path: "/healthz", agent: false }, (response) => {
    response.resume().on("end", () => process.kill(process.pid, "SIGTERM"))
  }).on("error", () => setTimeout(stopWhenHealthy, 10))
}

const scripts = []
process.on("exit", () => {
  for (const [script, path] of scripts) writeFileSync(path, script.createCachedData())
  rmSync(state, { recursive: true, force: true })
  // The refused start ends with 1, as it should.
  process.exitCode = scripts.length > 1 ? 0 : 1
})
for (const name of Object.keys(process.env)) if (name.startsWith("GATEWAY_")) delete process.env[name]
process.argv = [
  process.argv[0],
  "gateway",
  "run",
  "--port",
  String(port),
  "--state-dir",
  state,
  "--config",
  join(state, "gateway.json")
]
if (scene === "start") stopWhenHealthy()
loadProgram(fileURLToPath(new URL("../dist/program", import.meta.url)), (script, path) => scripts.push([script, path]))
