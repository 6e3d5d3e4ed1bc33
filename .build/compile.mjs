// Runs the program once in this process, as one of the scenes, and writes the code that V8 compiled to its cache files.
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createServer, get } from "node:http"
import { createServer as createTcpServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { loadProgram } from "../dist/esm/internal/programLoader.js"

const scene = process.argv[2]
/** The URL of a lease in a store that nobody can reach. */
const leaseUrl = { postgres: (port) => `postgresql://gateway@127.0.0.1:${port}/gateway`, etcd: (port) => `etcd+http://127.0.0.1:${port}` }[scene]
const looks = leaseUrl === undefined && !["start", "refused", "exec"].includes(scene)
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

writeFileSync(join(state, "gateway.json"), "{}")
const port = await (scene === "refused" ? occupiedPort() : freePort())
const deadline = Date.now() + 20_000

const whenHealthy = (done) => {
  if (Date.now() > deadline) throw new Error(`gateway on port ${port} did not become healthy`)
  get({ port, host: "127.0.0.1", path: "/healthz", agent: false }, (response) => {
    response.resume().on("end", done)
  }).on("error", () => setTimeout(whenHealthy, 10, done))
}

const scripts = []
process.on("exit", (status) => {
  // Each start reads the code of the whole program, and most starts have no lease.
  const written = leaseUrl === undefined ? scripts : scripts.filter(([, path]) => !/[\\/]program\.cjs[^\\/]*$/.test(path))
  for (const [script, path] of written) writeFileSync(path, script.createCachedData())
  rmSync(state, { recursive: true, force: true })
  // A refused start ends with 1. `status`, `health` and `list` must have found a healthy gateway. `doctor` may find
  // anything on this machine.
  const isExpected = scene === "doctor" || status === (scene === "refused" ? 1 : 0)
  process.exitCode = isExpected && scripts.length > (scene === "refused" ? 0 : 1) ? 0 : 1
})
for (const name of Object.keys(process.env)) if (name.startsWith("GATEWAY_")) delete process.env[name]
const settings = ["--port", String(port), "--state-dir", state, "--config", join(state, "gateway.json")]
const words = scene === "exec"
  ? ["exec", ...settings, "--", process.execPath, "-e", "0"]
  : scene === "json"
  ? ["status", "--json", ...settings]
  : [looks ? scene : "run", ...settings]
process.argv = [process.argv[0], "gateway", ...words]
const end = () => process.kill(process.pid, "SIGTERM")
if (scene === "start") whenHealthy(end)
if (leaseUrl !== undefined) {
  process.env.GATEWAY_LEASE_URL = leaseUrl(await freePort())
  const { write } = process.stderr
  process.stderr.write = (text, ...rest) => {
    // Loaded and run once by then: the client of the store, the election and the report of its failure.
    if (text.includes("cannot reach lease")) setImmediate(end)
    return write.call(process.stderr, text, ...rest)
  }
  setTimeout(() => { throw new Error("the lease was not tried") }, deadline - Date.now()).unref()
}
if (looks) {
  // The gateway that the command looks at.
  const main = fileURLToPath(new URL("../dist/main.js", import.meta.url))
  const gateway = spawn(process.execPath, [main, "run", ...settings], { stdio: "ignore" })
  gateway.unref()
  process.on("exit", () => gateway.kill("SIGKILL"))
  await Promise.race([new Promise(whenHealthy), once(gateway, "exit")])
}
loadProgram(fileURLToPath(new URL("../dist/program", import.meta.url)), (script, path) => scripts.push([script, path]))
