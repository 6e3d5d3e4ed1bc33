/**
 * Tests apps that use the library, as real processes. The tests cover the WebSockets of an app, and an OpenTelemetry agent that
 * records the requests to an app.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { fileURLToPath } from "node:url"
import { webSocket } from "../fixtures/net.ts"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))

const startApp = (site: Gateways.Site, args: ReadonlyArray<string>, options: Record<string, unknown> = {}) =>
  Processes.start([
    process.execPath,
    ...args,
    JSON.stringify({ port: site.port, stateDir: site.stateDir, configPath: site.configPath, ...options })
  ], { cwd: site.root, env: { PATH: Program.searchPath, HOME: site.root } }).pipe(
    Effect.tap((app) => app.listening)
  )

describe("an app's WebSocket", () => {
  const drainTimeout = 8000
  const apps = [["raw", "/chat"], ["prefixed", "/in/chat"], ["mounted", "/in/chat"]] as const

  for (const [kind, path] of apps) {
    it.scopedLive(`of a ${kind} app sees 1001 on SIGTERM, and the process does not wait for the drain timeout`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const app = yield* startApp(site, [fixture("webSockets.mjs"), kind], { drainTimeout })
        const address = { host: "127.0.0.1", port: site.port }
        const talking = Effect.gen(function*() {
          const client = yield* webSocket(address, path)
          yield* client.send("hi")
          assert.strictEqual(yield* client.next, "hi")
          return client
        })
        // The first client closes its WebSocket before the gateway stops. The second client stays connected.
        yield* Effect.scoped(talking)
        const client = yield* talking
        const before = yield* Clock.currentTimeMillis
        const ended = yield* Gateways.stop(app)
        assert.isBelow((yield* Clock.currentTimeMillis) - before, drainTimeout)
        assert.strictEqual((yield* client.closed).code, 1001)
        yield* Gateways.assertGone(site, ended)
      }))
  }
})

describe("OpenTelemetry's instrumentation of node:http", () => {
  it.scopedLive("has a server span for each request", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const app = yield* startApp(site, ["--require", fixture("agent.cjs"), fixture("app.mjs")])
      assert.strictEqual((yield* Clients.request(site, "/hello")).body, "world")
      yield* app.line(/^span 1 \/hello$/)
      assert.strictEqual((yield* Clients.request(site, "/healthz")).status, 200)
      yield* app.line(/^span 1 \/healthz$/)
    }))
})
