/**
 * The status page of a gateway with many connections and many viewers.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import * as Net from "node:net"
import { WebSocket } from "ws"
import * as Browsers from "../e2e/support/browser.ts"
import * as Clients from "../e2e/support/clients.ts"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Program from "../e2e/support/program.ts"
import * as StatusPages from "../e2e/support/statusPages.ts"

const getBrowser = Browsers.forFile()

const [connections, viewers] = [10_000, 200]

const connect = (port: number) =>
  Effect.acquireRelease(
    Effect.async<Net.Socket, Error>((resume) => {
      const socket = Net.connect(port, "127.0.0.1", () => resume(Effect.succeed(socket)))
      socket.on("error", (error) => resume(Effect.fail(error)))
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

/** Watches. `third` completes with the third frame. */
const view = (port: number) =>
  Effect.gen(function*() {
    const third = yield* Deferred.make<string>()
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { perMessageDeflate: false })
        let frames = 0
        socket.on("open", () => socket.send("{\"type\":\"watch\"}"))
        socket.on("message", (data) => {
          const text = String(data)
          if (text.startsWith("{\"type\":\"status\"")) frames += 1
          if (frames === 3) Deferred.unsafeDone(third, Effect.succeed(text))
        })
        socket.on("error", () => socket.terminate())
        return socket
      }),
      (socket) => Effect.sync(() => socket.terminate())
    )
    return { third: Deferred.await(third) }
  })

describe("a gateway of ten thousand connections and two hundred viewers", () => {
  it.scopedLive.skipIf(Browsers.noBrowser !== undefined)(
    Program.named("shows its page, sends every viewer its frames, and answers probes", Browsers.noBrowser),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.writeConfig(site, {
          limits: {
            connections: connections + viewers + 100,
            headersTimeout: "10 minutes",
            requestTimeout: "10 minutes"
          }
        })
        const gateway = yield* Gateways.startListening(site)
        yield* Effect.forEach(Array.from({ length: connections }), () => connect(site.port), { concurrency: 100 })
        const thirds = yield* Effect.forEach(Array.from({ length: viewers }), () => view(site.port))
        const frames = yield* Effect.forEach(thirds, ({ third }) => third, { concurrency: "unbounded" }).pipe(
          Effect.timeout("2 minutes")
        )
        assert.lengthOf(frames, viewers)
        const { complaints, page } = yield* StatusPages.open(getBrowser, site)
        const shown = Number(yield* Browsers.textOf(page, "#connections"))
        assert.isAtLeast(shown, connections + viewers)
        yield* Browsers.sees(page, "#lag-chart svg")
        assert.deepStrictEqual(complaints(), [])
        for (let probe = 0; probe < 20; probe += 1) {
          yield* Gateways.within("1 second", Clients.request(site, "/healthz"))
        }
        // Neither the connections nor the viewers hold the shutdown for longer than a drain of them needs.
        yield* gateway.signal("SIGTERM")
        yield* StatusPages.isIn(page, "draining")
      }),
    300_000
  )
})
