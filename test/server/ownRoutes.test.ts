/**
 * The gateway answers some routes itself. These tests use those routes together with the routes of an app, and with readiness
 * checks that an app adds.
 */
import {
  HttpApi,
  HttpApiBuilder,
  HttpApiEndpoint,
  HttpApiGroup,
  HttpMiddleware,
  HttpRouter,
  HttpServer,
  HttpServerRequest,
  HttpServerResponse
} from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Logger, LogLevel, Option, Ref, Schema, TestClock } from "effect"
import { watchSubprotocol } from "../../src/probe/OwnerWatch.ts"
import * as OwnPaths from "../../src/server/OwnPaths.ts"
import * as Readiness from "../../src/server/Readiness.ts"
import { echo, type Options, start } from "../fixtures/listening.ts"
import { json, request, webSocket } from "../fixtures/net.ts"

const text = (body: string) => HttpServerResponse.text(body)

/** Runs an effect; returns its logs at a level and above. */
const logged = (level: LogLevel.LogLevel) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const lines: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => {
      if (LogLevel.greaterThanEqual(logLevel, level)) lines.push(String(message))
    })
    yield* Effect.provide(self, Logger.replace(Logger.defaultLogger, logger))
    return lines
  })

const warnings = logged(LogLevel.Warning)

const chat = Effect.flatMap(HttpServerRequest.upgrade, (socket) => echo(socket, "app "))

const app = HttpRouter.empty.pipe(
  HttpRouter.get(
    "/",
    Effect.if(
      Effect.map(HttpServerRequest.HttpServerRequest, ({ headers }) => headers["upgrade"] !== undefined),
      { onTrue: () => chat, onFalse: () => text("home") }
    )
  ),
  HttpRouter.get("/health", text("the app's health")),
  HttpRouter.post("/ready", text("the app's ready")),
  HttpRouter.get("/control", text("the app's control"))
)

const started = (options: Options = {}) => Effect.tap(start(options), ({ serve }) => serve(app))

describe("an app's routes where the gateway has its own", () => {
  const notReached = (route: string) => new RegExp(`^the app's route ${route} is not reached: .* the option .routes.$`)

  it.scopedLive("are named at the start", () =>
    Effect.gen(function*() {
      const [health, ready, ...more] = yield* warnings(started())
      assert.match(health ?? "", notReached("GET /health"))
      assert.match(ready ?? "", notReached("POST /ready"))
      assert.deepStrictEqual(more, [])
    }))

  it.scopedLive("are named behind a prefix, in a mounted router and for all methods", () =>
    Effect.gen(function*() {
      const inner = HttpRouter.empty.pipe(HttpRouter.all("/y", text("")), HttpRouter.get("/other", text("")))
      const lines = yield* warnings(Effect.flatMap(
        start({ routes: { "/ready": "/x/y" } }),
        ({ serve }) => serve(HttpRouter.concat(HttpRouter.prefixAll(inner, "/x"), HttpRouter.mount(app, "/x", inner)))
      ))
      assert.deepStrictEqual(
        lines.map((line) => /route (\S+ \S+) /.exec(line)?.[1]),
        ["* /x/y", "GET /health", "* /x/y"]
      )
    }))

  it.scopedLive("are named where they belong to an HttpApi, and /healthz without an option that moves it", () =>
    Effect.gen(function*() {
      class Health extends HttpApiGroup.make("health").add(
        HttpApiEndpoint.get("healthz", "/healthz").addSuccess(Schema.String)
      ) {}
      class Api extends HttpApi.make("api").add(Health) {}
      const HealthLive = HttpApiBuilder.group(
        Api,
        "health",
        (handlers) => handlers.handle("healthz", () => Effect.succeed("fine"))
      )
      const lines = yield* warnings(Effect.gen(function*() {
        const { server } = yield* start()
        yield* Layer.build(
          HttpApiBuilder.serve().pipe(
            Layer.provide(HttpApiBuilder.api(Api)),
            Layer.provide(HealthLive),
            Layer.provide(Layer.succeed(HttpServer.HttpServer, server)),
            Layer.provide(HttpServer.layerContext),
            Layer.provide(NodeContext.layer)
          )
        )
      }))
      assert.deepStrictEqual(lines, [
        "the app's route GET /healthz is not reached: the gateway answers /healthz itself"
      ])
    }))

  it.scopedLive("are the app's once the option `routes` moves or switches off the gateway's", () =>
    Effect.gen(function*() {
      const lines = yield* warnings(Effect.gen(function*() {
        const gateway = yield* started({ routes: { "/health": false, "/ready": "/gateway/ready", "/": "/control" } })
        const { address } = gateway
        assert.strictEqual((yield* request(address, "/health")).body, "the app's health")
        assert.strictEqual((yield* request(address, "/ready", { method: "POST" })).body, "the app's ready")
        assert.deepStrictEqual(json(yield* request(address, "/gateway/ready")), { ready: true })
        assert.deepStrictEqual(json(yield* request(address, "/readyz")), { ready: true })
        assert.strictEqual((yield* request(address, "/healthz")).status, 200)
        assert.strictEqual((yield* request(address, "/")).body, "home")
        assert.strictEqual((yield* request(address, "/control")).body, "the app's control")

        const client = yield* webSocket(address, "/")
        yield* client.send("hi")
        assert.strictEqual(yield* client.next, "app hi")
        const control = yield* webSocket(address, "/control")
        assert.include(yield* control.next, "\"type\":\"hello\"")
        // A standby (a process that waits until the gateway ends) connects at `/`, even if the option `routes` has moved the
        // control socket to another path.
        const watcher = yield* webSocket(address, "/", { protocols: [watchSubprotocol] })
        assert.strictEqual(watcher.protocol, watchSubprotocol)
        yield* gateway.shutdown
        assert.deepStrictEqual(
          yield* Effect.forEach([client, control, watcher], ({ closed }) => Effect.map(closed, ({ code }) => code)),
          [1001, 1001, 1001]
        )
      }))
      assert.deepStrictEqual(lines, [])
    }))

  it.scopedLive("a control socket that is switched off is nowhere, but for watchers", () =>
    Effect.gen(function*() {
      const { address } = yield* Effect.provide(
        started({ routes: { "/": false } }),
        Logger.remove(Logger.defaultLogger)
      )
      const client = yield* webSocket(address, "/")
      yield* client.send("hi")
      assert.strictEqual(yield* client.next, "app hi")
      yield* webSocket(address, "/", { protocols: [watchSubprotocol] })
    }))

  it.scopedLive("a client that takes the control socket for the app's is named once", () =>
    Effect.gen(function*() {
      const lines = yield* logged(LogLevel.Info)(Effect.gen(function*() {
        const { address, serve } = yield* start()
        yield* serve(text("app"))
        for (const frame of ["{\"_tag\":\"Request\"}", "{}"]) {
          const client = yield* webSocket(address, "/")
          yield* client.send(frame)
          assert.strictEqual((yield* client.closed).code, 1008)
        }
      }))
      assert.strictEqual(lines.length, 1, String(lines))
      assert.match(lines[0] ?? "", /^a client of the control socket at \/ spoke another protocol: closed with 1008/)
    }))

  it("may be paths, each once, and nothing else", () => {
    const allowed: ReadonlyArray<OwnPaths.OwnPaths> = [
      {},
      { "/health": false, "/ready": false, "/": false },
      { "/health": "/a%20b/c" },
      { "/": "/health" },
      // The two routes swap their paths.
      { "/ready": "/readyz", "/readyz": "/ready" }
    ]
    for (const paths of allowed) assert.isTrue(OwnPaths.isAllowed(paths), JSON.stringify(paths))
    const refused: ReadonlyArray<unknown> = [
      { "/healthz": "/h" },
      { "/healthz": false },
      { "/other": "/h" },
      { "/health": "health" },
      { "/health": "" },
      { "/health": "/h?a" },
      { "/health": "/h i" },
      { "/health": "/ü" },
      { "/health": true },
      { "/health": "/healthz" },
      { "/health": "/ready" },
      { "/health": "/x", "/ready": "/x" }
    ]
    for (const paths of refused) assert.isFalse(OwnPaths.isAllowed(paths as OwnPaths.OwnPaths), JSON.stringify(paths))
    assert.deepStrictEqual(OwnPaths.controlPath({}), Option.some("/"))
  })
})

describe("an app's CORS middleware", () => {
  const origin = "https://app.example"
  const post = (address: Parameters<typeof request>[0], method: string) =>
    request(address, "/notes", {
      method,
      headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "x-note" }
    })
  const serving = (options: Options) =>
    Effect.tap(start(options), ({ serveWith }) =>
      serveWith(
        HttpRouter.post(HttpRouter.empty, "/notes", text("added")),
        HttpMiddleware.cors({ allowedOrigins: [origin] })
      )).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))

  it.scopedLive("answers preflight requests, and decides together with allowedOrigins", () =>
    Effect.gen(function*() {
      for (const allowedOrigins of [[], [origin]]) {
        const { address } = yield* serving({ allowedOrigins })
        const preflight = yield* post(address, "OPTIONS")
        assert.strictEqual(preflight.status, 204)
        assert.strictEqual(preflight.headers["access-control-allow-origin"], origin)
        const answer = yield* post(address, "POST")
        const isAllowed = allowedOrigins.length > 0
        assert.strictEqual(answer.status, isAllowed ? 200 : 403)
        assert.strictEqual(answer.headers["access-control-allow-origin"], isAllowed ? origin : undefined)
        const own = yield* request(address, "/healthz", { headers: { origin } })
        assert.strictEqual(own.headers["access-control-allow-origin"], undefined)
      }
    }))
})

describe("a readiness check", () => {
  const ready = { status: 200, body: "{\"ready\":true}" }
  const failing = (...names: ReadonlyArray<string>) => ({
    status: 503,
    body: JSON.stringify({ ready: false, failing: names })
  })
  const asked = (gateway: { readonly address: Parameters<typeof request>[0] }) =>
    Effect.map(request(gateway.address, "/readyz"), ({ body, status }) => ({ status, body }))

  it.scopedLive("makes /readyz say no while it fails, is false or dies, and while its scope is open", () =>
    Effect.gen(function*() {
      const database = yield* Ref.make<Effect.Effect<unknown, string>>(Effect.void)
      const lines = yield* warnings(Effect.gen(function*() {
        const gateway = yield* start()
        yield* Effect.scoped(Effect.gen(function*() {
          yield* gateway.lifecycle.addCheck(
            "database",
            yield* Readiness.make("database", Effect.flatten(Ref.get(database)))
          )
          // Before an app is served, the gateway is not ready, whatever a check says.
          assert.deepStrictEqual(yield* asked(gateway), failing("starting"))
          yield* gateway.serve(text("app"))
          assert.deepStrictEqual(yield* asked(gateway), ready)
          for (
            const result of [Effect.fail("refused"), Effect.succeed(false), Effect.dieMessage("boom"), Effect.interrupt]
          ) {
            yield* Ref.set(database, result)
            assert.deepStrictEqual(yield* asked(gateway), failing("database"))
            assert.strictEqual((yield* request(gateway.address, "/healthz")).status, 200)
          }
          yield* Ref.set(database, Effect.succeed(0))
          assert.deepStrictEqual(yield* asked(gateway), ready)
          yield* Ref.set(database, Effect.fail("refused again"))
          assert.deepStrictEqual(yield* asked(gateway), failing("database"))
        }))
        assert.deepStrictEqual(yield* asked(gateway), ready)
      }))
      assert.strictEqual(lines.length, 2, String(lines))
      assert.match(lines[0] ?? "", /^readiness check "database" fails: .*refused/)
      assert.match(lines[1] ?? "", /^readiness check "database" fails: .*refused again/)
    }))

  it.effect("runs once at a time, however many ask, and its asker may go away", () =>
    Effect.gen(function*() {
      const runs = yield* Ref.make(0)
      const release = yield* Deferred.make<void>()
      const passes = yield* Readiness.make(
        "database",
        Effect.zipRight(Ref.update(runs, (n) => n + 1), Deferred.await(release))
      )
      const first = yield* Effect.fork(passes)
      const others = yield* Effect.fork(
        Effect.all(Array.from({ length: 100 }, () => passes), { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("10 millis")
      yield* Fiber.interrupt(first)
      yield* Deferred.succeed(release, undefined)
      assert.deepStrictEqual(new Set(yield* Fiber.join(others)), new Set([true]))
      assert.strictEqual(yield* Ref.get(runs), 1)
      assert.isTrue(yield* passes)
      assert.strictEqual(yield* Ref.get(runs), 2)
    }))

  it.effect("has a second, or as long as is said, and one that cannot be ended runs no second time", () =>
    Effect.gen(function*() {
      const runs = yield* Ref.make(0)
      const hanging = Effect.uninterruptible(Effect.zipRight(Ref.update(runs, (n) => n + 1), Effect.never))
      const cases = [[undefined, "999 millis"], ["5 seconds", "4999 millis"]] as const
      for (const [timeout, before] of cases) {
        const passes = yield* Readiness.make("database", hanging, { timeout })
        const asking = yield* Effect.fork(passes)
        yield* TestClock.adjust(before)
        assert.isNull(yield* Fiber.poll(asking).pipe(Effect.map(Option.getOrNull)))
        yield* TestClock.adjust("1 millis")
        assert.isFalse(yield* Fiber.join(asking))
        const again = yield* Effect.fork(passes)
        yield* TestClock.adjust("5 seconds")
        assert.isFalse(yield* Fiber.join(again))
      }
      assert.strictEqual(yield* Ref.get(runs), 2)
    }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))))

  it("has a name that says what it is, and not one of the gateway's own reasons", () => {
    for (const name of ["database", "a", "cache (eu-west-1)", "x".repeat(64)]) {
      assert.isTrue(Readiness.isAllowedName(name))
    }
    for (const name of ["", "x".repeat(65), "lock", "draining", "starting", "leadership", "a\nb", "ü"]) {
      assert.isFalse(Readiness.isAllowedName(name), name)
    }
  })
})
