/**
 * An exception in a handler ends only the connection that the handler was called for.
 */
import { HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Logger, LogLevel, Option, Queue } from "effect"
import { watchSubprotocol } from "../../src/probe/OwnerWatch.ts"
import * as Access from "../../src/server/Access.ts"
import { limitsOf } from "../../src/server/ListenerOptions.ts"
import * as NodeServerSocket from "../../src/server/node/NodeServerSocket.ts"
import { type OwnRoutes, ServerSocket } from "../../src/server/ServerSocket.ts"
import { type Client, connect, request, upgradeRequest, webSocket, within } from "../fixtures/net.ts"

class Provoked extends Error {
  override readonly name = "Provoked"
}
const raise = (): never => {
  throw new Provoked("provoked")
}

const dying: Effect.Effect<never> = Effect.suspend(raise)

const working: OwnRoutes["Type"] = {
  owns: (path) => path === "/own",
  app: Effect.succeed(HttpServerResponse.text("own")),
  control: {
    path: Option.some("/"),
    hello: Effect.succeed("hello"),
    answer: (frame) => frame._tag === "Text" ? { send: [], watch: true } : { send: [] },
    watch: () => Effect.never,
    farewell: (reason) => reason
  }
}

/** Starts a server with these routes, and collects its logs at WARN and above. */
const serving = (routes: OwnRoutes["Type"]) =>
  Effect.gen(function*() {
    const logged = yield* Queue.unbounded<{ readonly level: LogLevel.LogLevel; readonly cause: string }>()
    const logger = Logger.make(({ cause, logLevel }) => {
      if (LogLevel.greaterThanEqual(logLevel, LogLevel.Warning)) {
        Queue.unsafeOffer(logged, { level: logLevel, cause: Cause.pretty(cause) })
      }
    })
    const { bind } = yield* ServerSocket
    const bound = yield* bind({
      address: { host: "127.0.0.1", port: 0 },
      limits: limitsOf({}),
      rules: Access.rules({ host: "127.0.0.1" }),
      routes,
      drainBegan: Effect.never
    }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
    return {
      address: bound.address,
      /** Checks that the log has exactly one entry, and that it shows the cause. */
      assertLoggedOnce: Effect.gen(function*() {
        const entry = yield* Queue.take(logged).pipe(within("a log line"))
        assert.include(entry.cause, "provoked")
        assert.strictEqual(yield* Queue.size(logged), 0)
      })
    }
  }).pipe(Effect.provide(NodeServerSocket.layer))

const withControl = (control: Partial<OwnRoutes["Type"]["control"]>): OwnRoutes["Type"] => ({
  ...working,
  control: { ...working.control, ...control }
})

const controlFailures: ReadonlyArray<
  readonly [
    what: string,
    control: Partial<OwnRoutes["Type"]["control"]>,
    provoke: (client: Client) => Effect.Effect<void>
  ]
> = [
  ["the answer to a text frame throws", { answer: raise }, (client) => client.send("anything")],
  ["the answer to a binary frame throws", { answer: raise }, (client) => client.send(Buffer.of(1))],
  ["the hello frame dies", { hello: dying }, () => Effect.void],
  ["watching throws at once", { watch: raise }, (client) => client.send("watch")],
  ["watching dies at once", { watch: () => dying }, (client) => client.send("watch")],
  [
    "watching dies later",
    {
      watch: ({ push }) => Effect.zipRight(push("pushed"), Effect.zipRight(Effect.sleep("1 millis"), dying))
    },
    (client) => client.send("watch")
  ]
]

describe("a control socket", () => {
  for (const [what, control, provoke] of controlFailures) {
    it.scopedLive(`is closed with 1011 where ${what}; the log shows it once, and all others go on`, () =>
      Effect.gen(function*() {
        const { address, assertLoggedOnce } = yield* serving(withControl(control))
        const client = yield* webSocket(address)
        yield* provoke(client)
        assert.strictEqual((yield* client.closed).code, 1011)
        yield* assertLoggedOnce
        assert.strictEqual((yield* request(address, "/own")).body, "own")
        const watcher = yield* webSocket(address, "/", { protocols: [watchSubprotocol] })
        assert.strictEqual(watcher.protocol, watchSubprotocol)
      }))
  }
})

describe("a request", () => {
  const owning: OwnRoutes["Type"] = { ...working, owns: (path) => path === "/broken" ? raise() : path === "/own" }

  it.scopedLive("whose interception throws is answered with 500, and the next connection is served", () =>
    Effect.gen(function*() {
      const { address, assertLoggedOnce } = yield* serving(owning)
      assert.strictEqual((yield* request(address, "/broken")).status, 500)
      yield* assertLoggedOnce
      assert.strictEqual((yield* request(address, "/own")).body, "own")
    }))

  it.scopedLive("for an upgrade whose interception throws is answered with 500, and the next one is served", () =>
    Effect.gen(function*() {
      const { address, assertLoggedOnce } = yield* serving(owning)
      const client = yield* connect(address)
      yield* client.send(upgradeRequest("/broken"))
      yield* client.ended
      assert.match(yield* client.received, /^HTTP\/1\.1 500 /)
      yield* assertLoggedOnce
      const next = yield* webSocket(address)
      assert.strictEqual(yield* next.next, "hello")
    }))
})
