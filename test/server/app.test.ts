/**
 * The gateway checks each request before an app gets it. Nevertheless, an app must behave in a gateway as it does under
 * `NodeHttpServer.layer`. So each test sends the same requests to both servers.
 */
import {
  type HttpApp,
  HttpLayerRouter,
  type HttpMiddleware,
  HttpMultiplex,
  HttpRouter,
  HttpServer,
  HttpServerRequest,
  HttpServerResponse
} from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Context, Deferred, Duration, Effect, Exit, Layer, Logger, Option, Ref, Scope } from "effect"
import * as Http from "node:http"
import type { Address } from "../../src/Address.ts"
import { echo, start } from "../fixtures/listening.ts"
import { connect, eventually, request, webSocket, within } from "../fixtures/net.ts"

interface Running {
  readonly address: Address
  readonly serve: <E>(app: HttpApp.Default<E, Scope.Scope>) => Effect.Effect<void>
  readonly serveWith: <E>(
    app: HttpApp.Default<E, Scope.Scope>,
    middleware: HttpMiddleware.HttpMiddleware
  ) => Effect.Effect<void>
  readonly server: HttpServer.HttpServer
  /** Shuts the server down and releases all its resources. Completes when that is done. */
  readonly shutdown: Effect.Effect<void>
}

interface Times {
  /** In milliseconds. */
  readonly requestTimeout?: number
}

const plain = ({ requestTimeout }: Times = {}): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const options: Http.ServerOptions = requestTimeout === undefined
      ? {}
      : { requestTimeout, headersTimeout: requestTimeout, connectionsCheckingInterval: 1000 }
    const context = yield* Layer.buildWithScope(
      Layer.orDie(NodeHttpServer.layer(() => Http.createServer(options), { host: "127.0.0.1", port: 0 })),
      scope
    )
    const server = Context.get(context, HttpServer.HttpServer)
    return {
      address: { host: "127.0.0.1", port: server.address._tag === "TcpAddress" ? server.address.port : 0 },
      serve: (app) => Scope.extend(server.serve(app), scope),
      serveWith: (app, middleware) => Scope.extend(server.serve(app, middleware), scope),
      server,
      shutdown: Scope.close(scope, Exit.void)
    }
  })

const guarded = (times: Times = {}): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.orDie(start({ limits: times }))

const servers = [["NodeHttpServer", plain], ["a gateway", guarded]] as const

const quiet = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.provide(self, Logger.remove(Logger.defaultLogger))

/** Runs the same test on both servers. */
const both = (
  name: string,
  self: (start: typeof plain) => Effect.Effect<void, unknown, Scope.Scope>
) => {
  for (const [server, make] of servers) it.scopedLive(`${name}: ${server}`, () => quiet(self(make)))
}

const timed = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const before = yield* Clock.currentTimeMillis
    yield* self
    return (yield* Clock.currentTimeMillis) - before
  })

const upgraded = Effect.flatMap(HttpServerRequest.upgrade, (socket) => echo(socket))

/** Counts in `running` how many requests the app is handling. */
const counting = (running: Ref.Ref<number>) => <E, R>(app: HttpApp.Default<E, R>): HttpApp.Default<E, R> =>
  Effect.acquireUseRelease(
    Ref.update(running, (n) => n + 1),
    () => app,
    () => Ref.update(running, (n) => n - 1)
  )

const layerRouter = (add: (router: HttpLayerRouter.HttpRouter) => Effect.Effect<unknown, never, never>) =>
  Effect.map(Effect.tap(HttpLayerRouter.make, add), (router) => router.asHttpEffect())

/** Apps that answer a WebSocket at `/chat`, `/in/chat` or any path. */
const webSocketApps: ReadonlyArray<
  readonly [
    what: string,
    path: string,
    app: (handler: HttpApp.Default<unknown>) => Effect.Effect<HttpApp.Default<unknown, Scope.Scope>>
  ]
> = [
  ["no router", "/chat", (handler) => Effect.succeed(handler)],
  [
    "an uninterruptible route",
    "/chat",
    (handler) =>
      Effect.succeed(
        HttpRouter.concat(
          HttpRouter.empty,
          HttpRouter.fromIterable([HttpRouter.makeRoute("GET", "/chat", handler, { uninterruptible: true })])
        )
      )
  ],
  [
    "a multiplexer",
    "/chat",
    (handler) => Effect.succeed(HttpMultiplex.hostStartsWith(HttpMultiplex.empty, "127.0.0.1", handler))
  ],
  [
    "a prefix",
    "/in/chat",
    (handler) => Effect.succeed(HttpRouter.prefixAll(HttpRouter.get(HttpRouter.empty, "/chat", handler), "/in"))
  ],
  [
    "a mounted router",
    "/in/chat",
    (handler) =>
      Effect.succeed(HttpRouter.mount(HttpRouter.empty, "/in", HttpRouter.get(HttpRouter.empty, "/chat", handler)))
  ],
  [
    "a mounted app",
    "/in/chat",
    (handler) => Effect.succeed(HttpRouter.mountApp(HttpRouter.empty, "/in", handler, { includePrefix: true }))
  ],
  [
    "a prefix of HttpLayerRouter",
    "/in/chat",
    (handler) => layerRouter((router) => router.prefixed("/in").add("GET", "/chat", Effect.orDie(handler)))
  ],
  [
    "a request whose path was changed",
    "/chat",
    (handler) =>
      Effect.succeed(
        Effect.updateService(
          handler,
          HttpServerRequest.HttpServerRequest,
          (request) => request.modify({ url: "/other" })
        )
      )
  ]
]

describe("an app's WebSocket", () => {
  for (const [what, path, make] of webSocketApps) {
    both(
      `whose client closes ends its handler, and holds no shutdown, where the app is ${what}`,
      (start) =>
        Effect.gen(function*() {
          const running = yield* Ref.make(0)
          const server = yield* start()
          yield* server.serve(yield* make(counting(running)(upgraded)))
          for (let times = 0; times < 3; times++) {
            yield* Effect.scoped(Effect.gen(function*() {
              const client = yield* webSocket(server.address, path)
              yield* client.send("hi")
              assert.strictEqual(yield* client.next, "hi")
              assert.strictEqual(yield* Ref.get(running), 1)
            }))
            yield* eventually("no handler", Effect.map(Ref.get(running), (n) => n === 0))
          }
          assert.isBelow(yield* timed(server.shutdown.pipe(within("the end of the shutdown"))), 4000)
        })
    )

    it.scopedLive(`is told to go away at once when the drain begins, where the app is ${what}`, () =>
      quiet(Effect.gen(function*() {
        const running = yield* Ref.make(0)
        const server = yield* guarded()
        yield* server.serve(yield* make(counting(running)(upgraded)))
        const client = yield* webSocket(server.address, path)
        yield* client.send("hi")
        assert.strictEqual(yield* client.next, "hi")
        assert.isBelow(yield* timed(server.shutdown.pipe(within("the end of the shutdown"))), 4000)
        assert.deepStrictEqual(yield* client.closed, { code: 1001, reason: "finished" })
        assert.strictEqual(yield* Ref.get(running), 0)
      })))
  }

  it.scopedLive("that a middleware opens is told to go away at once when the drain begins", () =>
    quiet(Effect.gen(function*() {
      const server = yield* guarded()
      yield* server.serveWith(HttpServerResponse.text("app"), () => Effect.orDie(upgraded))
      const client = yield* webSocket(server.address, "/chat")
      yield* client.send("hi")
      assert.strictEqual(yield* client.next, "hi")
      assert.isBelow(yield* timed(server.shutdown.pipe(within("the end of the shutdown"))), 4000)
      assert.strictEqual((yield* client.closed).code, 1001)
    })))
})

describe("an agent that has patched http.Server.prototype.emit", () => {
  /** Patches `emit` of all HTTP servers as the instrumentations of OpenTelemetry, Datadog and Elastic do. */
  const patched = (seen: Array<string>) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const emit = Reflect.get(Http.Server.prototype, "emit")
        const own = Object.hasOwn(Http.Server.prototype, "emit")
        const patch = function(this: Http.Server, event: string, ...args: Array<unknown>) {
          const [incoming] = args
          if (event === "request" && incoming instanceof Http.IncomingMessage) seen.push(incoming.url ?? "")
          return Reflect.apply(emit, this, [event, ...args])
        }
        Reflect.set(Http.Server.prototype, "emit", patch)
        return { emit, own }
      }),
      ({ emit, own }) =>
        Effect.sync(() => {
          if (own) Reflect.set(Http.Server.prototype, "emit", emit)
          else Reflect.deleteProperty(Http.Server.prototype, "emit")
        })
    )

  both("sees each request", (start) =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      yield* patched(seen)
      const server = yield* start()
      yield* server.serve(HttpServerResponse.text("app"))
      assert.strictEqual((yield* request(server.address, "/hello")).body, "app")
      yield* request(server.address, "/healthz")
      assert.deepStrictEqual(seen, ["/hello", "/healthz"])
    }))
})

describe("serving again", () => {
  const text = (body: string) => HttpServerResponse.text(body)

  it.scopedLive("while an app is served gives the place to the new one, until that has ended", () =>
    quiet(Effect.gen(function*() {
      const gateway = yield* start()
      yield* gateway.serve(text("first"))
      yield* Effect.scoped(Effect.gen(function*() {
        yield* gateway.server.serve(text("second"))
        assert.strictEqual((yield* request(gateway.address, "/")).body, "second")
      }))
      assert.strictEqual((yield* request(gateway.address, "/")).body, "first")
      assert.isFalse(yield* gateway.lifecycle.draining)
    })))

  it.scopedLive("while an app is served leaves the new one when the first has ended", () =>
    quiet(Effect.gen(function*() {
      const gateway = yield* start()
      const scope = yield* Scope.make()
      yield* Scope.extend(gateway.server.serve(text("first")), scope)
      yield* gateway.serve(text("second"))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* request(gateway.address, "/")).body, "second")
      assert.isFalse(yield* gateway.lifecycle.draining)
    })))

  it.scopedLive("after the last app has ended fails, and says why", () =>
    quiet(Effect.gen(function*() {
      const gateway = yield* start()
      yield* Effect.scoped(gateway.server.serve(text("first")))
      const exit = yield* Effect.exit(Effect.scoped(gateway.server.serve(text("second"))))
      const defect = Exit.isFailure(exit) ? Cause.dieOption(exit.cause) : Option.none()
      assert.isTrue(Option.isSome(defect), String(exit))
      const { _tag, message } = Option.getOrThrow(defect) as { readonly _tag: string; readonly message: string }
      assert.strictEqual(_tag, "ListenerClosed")
      assert.match(message, /closed when its last app ended/)
    })))
})

describe("a request that breaks off while its app handles it", () => {
  /**
   * An app that reads the body of a request and answers with it. If the body cannot be read, `failed` completes with the
   * reason.
   */
  const reading = (failed: Deferred.Deferred<string>): HttpApp.Default =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ text }) => text).pipe(
      Effect.tapErrorCause((cause) => Deferred.succeed(failed, Cause.pretty(cause))),
      Effect.orDie,
      Effect.map((body) => HttpServerResponse.text(body))
    )
  const post = (lines: string, body: string) => `POST /x HTTP/1.1\r\nHost: localhost\r\n${lines}\r\n\r\n${body}`

  both("by a bad chunk gets 400", (start) =>
    Effect.gen(function*() {
      const failed = yield* Deferred.make<string>()
      const server = yield* start()
      yield* server.serve(reading(failed))
      const client = yield* connect(server.address)
      yield* client.send(post("Transfer-Encoding: chunked", "3\r\nabc\r\nzz\r\n"))
      yield* client.ended
      assert.match(yield* client.received, /^HTTP\/1\.1 400 /)
      yield* Deferred.await(failed).pipe(within("the app's failure"))
    }))

  both("by a body that comes too late gets 408", (start) =>
    Effect.gen(function*() {
      const failed = yield* Deferred.make<string>()
      const server = yield* start({ requestTimeout: 300 })
      yield* server.serve(reading(failed))
      const client = yield* connect(server.address)
      yield* client.send(post("Content-Length: 5", "ab"))
      yield* client.ended
      assert.match(yield* client.received, /^HTTP\/1\.1 408 /)
      yield* Deferred.await(failed).pipe(within("the app's failure"))
    }))

  it.scopedLive("is answered behind those before it, in their order", () =>
    quiet(Effect.gen(function*() {
      const failed = yield* Deferred.make<string>()
      const release = yield* Deferred.make<void>()
      const gateway = yield* start()
      yield* gateway.serve(Effect.flatMap(
        HttpServerRequest.HttpServerRequest,
        ({ url }) =>
          url === "/slow" ? Effect.as(Deferred.await(release), HttpServerResponse.text("slow")) : reading(failed)
      ))
      const client = yield* connect(gateway.address)
      yield* client.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
      yield* client.send(post("Transfer-Encoding: chunked", "3\r\nabc\r\nzz\r\n"))
      yield* Effect.sleep("50 millis")
      yield* Deferred.succeed(release, undefined)
      yield* client.ended
      assert.match(yield* client.received, /^HTTP\/1\.1 200 [^]*slowHTTP\/1\.1 400 /)
      yield* eventually("no connection", Effect.map(gateway.connections, (n) => n === 0))
    })))

  it.scopedLive("behind one that is being answered gets 400 after that answer", () =>
    quiet(Effect.gen(function*() {
      const release = yield* Deferred.make<void>()
      const gateway = yield* start()
      yield* gateway.serve(Effect.as(Deferred.await(release), HttpServerResponse.text("slow")))
      const client = yield* connect(gateway.address)
      yield* client.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\nthis is no request\r\n\r\n")
      yield* Effect.sleep("50 millis")
      yield* Deferred.succeed(release, undefined)
      yield* client.ended
      assert.match(yield* client.received, /^HTTP\/1\.1 200 [^]*slowHTTP\/1\.1 400 /)
      yield* eventually("no connection", Effect.map(gateway.connections, (n) => n === 0))
    })))

  both("after a part of its answer is closed, without a second answer", (start) =>
    Effect.gen(function*() {
      const server = yield* start()
      yield* server.serve(
        Effect.map(
          HttpServerRequest.HttpServerRequest,
          ({ stream }) => HttpServerResponse.stream(stream, { contentType: "text/plain" })
        )
      )
      const client = yield* connect(server.address)
      yield* client.send(post("Transfer-Encoding: chunked", "3\r\nabc\r\n"))
      yield* client.until(/abc/)
      yield* client.send("zz\r\n")
      yield* client.ended
      const received = yield* client.received
      assert.strictEqual(received.match(/HTTP\/1\.1/g)?.length, 1)
    }))
})

describe("time limits", () => {
  const post = "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab"

  it.scopedLive("of 0 for a request leave the one for its headers", () =>
    quiet(Effect.gen(function*() {
      const gateway = yield* start({ limits: { requestTimeout: 0, headersTimeout: "300 millis" } })
      yield* gateway.serve(
        Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ text }) => text).pipe(
          Effect.orDie,
          Effect.map((body) => HttpServerResponse.text(`<${body}>`))
        )
      )
      const slow = yield* connect(gateway.address)
      yield* slow.send(post)
      const silent = yield* connect(gateway.address)
      yield* silent.send("GET / HTTP/1.1\r\nHost:")
      yield* silent.ended
      assert.match(yield* silent.received, /^HTTP\/1\.1 408 /)
      yield* slow.send("cde")
      yield* slow.until(/<abcde>/)
    })))

  it.scopedLive("of 0 for the headers leave the one for the whole request", () =>
    quiet(Effect.gen(function*() {
      const gateway = yield* start({ limits: { requestTimeout: "300 millis", headersTimeout: 0 } })
      yield* gateway.serve(HttpServerResponse.text("app"))
      const silent = yield* connect(gateway.address)
      yield* silent.send("GET / HTTP/1.1\r\nHost:")
      yield* silent.ended
      assert.match(yield* silent.received, /^HTTP\/1\.1 408 /)
    })))

  it.scopedLive("may be of any precision and length", () =>
    quiet(Effect.gen(function*() {
      for (const time of ["1500 micros", Duration.days(100), Duration.infinity] as const) {
        const gateway = yield* start({ limits: { requestTimeout: time, headersTimeout: time, keepAliveTimeout: time } })
        yield* gateway.serve(HttpServerResponse.text("app"))
        assert.strictEqual((yield* request(gateway.address, "/")).body, "app")
      }
    })))
})

describe("150 requests in one write", () => {
  const requests = Array.from({ length: 150 }, (_, n) => `GET /${n} HTTP/1.1\r\nHost: localhost\r\n\r\n`).join("")

  both("are all answered, by an app that answers at once", (start) =>
    Effect.gen(function*() {
      const server = yield* start()
      yield* server.serve(
        Effect.map(HttpServerRequest.HttpServerRequest, ({ url }) => HttpServerResponse.text(`<${url}>`))
      )
      const client = yield* connect(server.address)
      yield* client.send(requests)
      const received = yield* client.until(/<\/149>/)
      assert.deepStrictEqual(
        [...received.matchAll(/<\/(\d+)>/g)].map((match) => Number(match[1])),
        Array.from({ length: 150 }, (_, n) => n)
      )
    }))

  it.scopedLive("end the connection, where the app has answered none of 100", () =>
    quiet(Effect.gen(function*() {
      const gateway = yield* start()
      yield* gateway.serve(Effect.never)
      const client = yield* connect(gateway.address)
      yield* client.send(requests)
      yield* client.ended
      assert.strictEqual(yield* client.received, "")
      assert.strictEqual((yield* request(gateway.address, "/healthz")).status, 200)
    })))
})
