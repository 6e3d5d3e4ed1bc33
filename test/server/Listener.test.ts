import { HttpMiddleware, HttpRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Duration, Effect, Exit, Fiber, FiberId, Layer, Logger, Ref, type Scope, Stream } from "effect"
import type { Address } from "../../src/Address.ts"
import { PortInUse } from "../../src/GatewayLockError.ts"
import { watchSubprotocol } from "../../src/probe/OwnerWatch.ts"
import { PortProbe, type PortState } from "../../src/probe/PortProbe.ts"
import * as NodeServerSocket from "../../src/server/node/NodeServerSocket.ts"
import { BindError, ServerSocket } from "../../src/server/ServerSocket.ts"
import { echo, instanceId, type Options, start } from "../fixtures/listening.ts"
import {
  canBind,
  connect,
  eventually,
  httpServer,
  json,
  refused,
  request,
  soon,
  tcpServer,
  textFrame,
  upgradeRequest,
  webSocket,
  within
} from "../fixtures/net.ts"
import { noIPv6, unless } from "../fixtures/skips.ts"

const hasIPv6 = await canBind("::1")

const live = (name: string, self: () => Effect.Effect<void, unknown, Scope.Scope>, reason?: string) =>
  unless(reason).scopedLive(name, () => Effect.provide(self(), Logger.remove(Logger.defaultLogger)))

/** A probe that gives these answers in turn, and then repeats the last one. */
const probeThatSays = (...answers: ReadonlyArray<PortState>): Layer.Layer<PortProbe> =>
  Layer.effect(
    PortProbe,
    Effect.map(Ref.make(answers), (left) =>
      PortProbe.of({
        probe: () =>
          Ref.modify(left, (states) => [states[0] ?? { _tag: "Free" }, states.length > 1 ? states.slice(1) : states])
      }))
  )

const alive = { ok: true, status: "live", instanceId }
const draining = { ok: false, status: "draining", instanceId }

/**
 * An app with a route `/slow`. `reached` completes when a request for it arrives, and `release` lets the app answer that
 * request.
 */
const slowApp = Effect.gen(function*() {
  const reached = yield* Deferred.make<void>()
  const release = yield* Deferred.make<void>()
  const app = HttpRouter.empty.pipe(
    HttpRouter.get("/hello", HttpServerResponse.text("world")),
    HttpRouter.get(
      "/slow",
      Effect.zipRight(
        Effect.zipRight(Deferred.succeed(reached, undefined), Deferred.await(release)),
        HttpServerResponse.text("done")
      )
    ),
    Effect.catchTag("RouteNotFound", () => HttpServerResponse.empty({ status: 404 }))
  )
  return {
    app,
    reached: Deferred.await(reached).pipe(within("the request to arrive")),
    release: Deferred.succeed(release, undefined)
  }
})

/** Calls `start` and serves an app without routes. */
const startWithApp = (options: Options = {}) => Effect.tap(start(options), (gateway) => gateway.serve(HttpRouter.empty))

const timed = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.timed(self), ([took, value]) => [Duration.toMillis(took), value] as const)

describe("binding", () => {
  live("port 0 takes a free one, and the lock file is told which", () =>
    Effect.gen(function*() {
      const gateway = yield* start()
      assert.isAbove(gateway.address.port, 0)
      assert.strictEqual(gateway.address.host, "127.0.0.1")
      assert.deepStrictEqual(yield* gateway.changes, [{ phase: "listening", ...gateway.address }])
      assert.deepStrictEqual(json(yield* request(gateway.address, "/healthz")), alive)
      yield* gateway.shutdown
      assert.deepStrictEqual((yield* gateway.changes)[1], { phase: "draining" })
      assert.strictEqual((yield* gateway.changes).length, 2)
    }))

  live("two gateways on port 0 are neighbours", () =>
    Effect.gen(function*() {
      const [a, b] = yield* Effect.all([start(), start()])
      assert.notStrictEqual(a.address.port, b.address.port)
    }))

  live("a port that a gateway serves is in use, and the error says what answers", () =>
    Effect.gen(function*() {
      const first = yield* start()
      const error = yield* Effect.flip(start({ port: first.address.port }))
      assert.deepStrictEqual(error, new PortInUse({ ...first.address, listener: "a healthy gateway" }))
      assert.strictEqual((yield* request(first.address, "/healthz")).status, 200)
    }))

  live("a port that a stranger serves is in use", () =>
    Effect.gen(function*() {
      const stranger = yield* httpServer(200, "hello")
      const error = yield* Effect.flip(start({ port: stranger.port }))
      assert.strictEqual(error._tag, "PortInUse")
      assert.deepInclude(error, { ...stranger, listener: "answered HTTP 200 to /healthz, not as a gateway" })
    }))

  live("losing the race to the bind is PortInUse too, and who won is asked", () =>
    Effect.gen(function*() {
      const winner = yield* tcpServer(() => {})
      const gateway: PortState = { _tag: "Gateway", instanceId, healthy: false, detail: "a gateway that starts" }
      // On Linux, the bind comes without a probe before it.
      const before: ReadonlyArray<PortState> = process.platform === "linux" ? [] : [{ _tag: "Free" }]
      const late = yield* Effect.flip(start({ port: winner.port, ports: probeThatSays(...before, gateway) }))
      assert.deepStrictEqual(late, new PortInUse({ ...winner, listener: "a gateway that starts" }))
      const mute = yield* Effect.flip(start({ port: winner.port, ports: probeThatSays({ _tag: "Free" }) }))
      assert.deepStrictEqual(
        mute,
        new PortInUse({ ...winner, listener: "a process that is not visible from here" })
      )
    }))

  live("an address that is not this machine's is BindFailed, with the system's words", () =>
    Effect.gen(function*() {
      // 192.0.2.1 is an address of TEST-NET-1 (RFC 5737), which no host has. The probe is simulated, so no packet leaves this
      // machine.
      const ports = probeThatSays({ _tag: "Free" })
      const error = yield* Effect.flip(start({ host: "192.0.2.1", port: 4711, ports }))
      assert.strictEqual(error._tag, "BindFailed")
      assert.match(
        error.message,
        /^failed to bind gateway socket on ws:\/\/192\.0\.2\.1:4711: listen EADDRNOTAVAIL: .*192\.0\.2\.1:4711$/
      )
    }))

  const guarded = (host: string) => () =>
    Effect.gen(function*() {
      const gateway = yield* start({ host })
      const guard = { host: "127.0.0.1", port: gateway.address.port }
      assert.strictEqual(gateway.address.host, host)
      assert.deepStrictEqual(json(yield* request(gateway.address, "/healthz")), alive)
      assert.deepStrictEqual(json(yield* request(guard, "/healthz")), alive)
      const error = yield* Effect.flip(start(guard))
      assert.deepStrictEqual(error, new PortInUse({ ...guard, listener: "a healthy gateway" }))
      const { app } = yield* slowApp
      yield* gateway.serve(app)
      assert.strictEqual((yield* request(guard, "/hello")).body, "world")
      yield* gateway.shutdown
      for (const address of [guard, gateway.address]) {
        yield* refused(address)
      }
    })
  live("127.0.0.2 holds 127.0.0.1 too, and serves there", guarded("127.0.0.2"))
  live("::1 holds 127.0.0.1 too, and serves there", guarded("::1"), noIPv6(hasIPv6))
  for (const host of ["::0", "::ffff:0.0.0.0", "::ffff:127.0.0.1"]) {
    live(
      `${host}, another spelling of an address that covers 127.0.0.1, does not stand in its own way`,
      guarded(host),
      noIPv6(hasIPv6)
    )
  }

  live("one base port is one gateway, on whichever loopback addresses", () =>
    Effect.gen(function*() {
      const first = yield* start({ host: "127.0.0.2" })
      const error = yield* Effect.flip(start({ host: "127.0.0.3", port: first.address.port }))
      assert.strictEqual(error._tag, "PortInUse")
      // Each of the two gateways must also bind 127.0.0.1, as all gateways do. So only one of them can start, even if the probe
      // finds no listener.
      const blind = yield* Effect.flip(
        start({ host: "127.0.0.3", port: first.address.port, ports: probeThatSays({ _tag: "Free" }) })
      )
      assert.strictEqual(blind._tag, "PortInUse")
      // The gateway that failed to start has released the address that it had bound.
      yield* refused({ host: "127.0.0.3", port: first.address.port })
    }))

  live("a free port whose guard address is taken is given up for another one", () =>
    Effect.gen(function*() {
      const attempts = yield* Ref.make(0)
      const open = yield* Ref.make(0)
      const real = yield* Effect.provide(ServerSocket, NodeServerSocket.layer)
      const sockets = Layer.succeed(
        ServerSocket,
        ServerSocket.of({
          bind: (options) =>
            Effect.gen(function*() {
              const attempt = yield* Ref.updateAndGet(attempts, (n) => n + 1)
              const bound = yield* real.bind(options)
              yield* Effect.acquireRelease(Ref.update(open, (n) => n + 1), () => Ref.update(open, (n) => n - 1))
              return attempt >= 3 ? bound : {
                ...bound,
                alsoBind: (host: string) =>
                  new BindError({ host, port: bound.address.port, code: "EADDRINUSE", reason: "EADDRINUSE" })
              }
            })
        })
      )
      const gateway = yield* start({ host: "127.0.0.2", sockets })
      assert.strictEqual(yield* Ref.get(attempts), 3)
      assert.strictEqual(yield* Ref.get(open), 1)
      assert.strictEqual((yield* request(gateway.address, "/healthz")).status, 200)
      // If the port is not 0, the listener tries no other port.
      yield* Ref.set(attempts, 0)
      const { port } = yield* tcpServer(() => {})
      yield* Effect.flip(start({ host: "127.0.0.2", port, sockets, ports: probeThatSays({ _tag: "Free" }) }))
      assert.strictEqual(yield* Ref.get(attempts), 1)
    }))

  live("what was bound is free again when the scope has closed", () =>
    Effect.gen(function*() {
      const first = yield* start({ host: "127.0.0.2" })
      yield* first.shutdown
      const second = yield* soon(start({ host: "127.0.0.2", port: first.address.port }))
      assert.deepStrictEqual(second.address, first.address)
    }))
})

describe("serving", () => {
  live("before an app is served, it lives, and is neither started nor ready", () =>
    Effect.gen(function*() {
      const { address } = yield* start()
      for (const path of ["/healthz", "/health", "/healthz?x=1"]) {
        const response = yield* request(address, path)
        assert.strictEqual(response.status, 200)
        assert.deepStrictEqual(json(response), alive)
      }
      for (const path of ["/startupz", "/startup"]) {
        const response = yield* request(address, path)
        assert.strictEqual(response.status, 503)
        assert.deepStrictEqual(json(response), { ok: false, status: "starting" })
      }
      for (const path of ["/readyz", "/ready"]) {
        const response = yield* request(address, path)
        assert.strictEqual(response.status, 503)
        assert.deepStrictEqual(json(response), { ready: false, failing: ["starting"] })
      }
      for (const path of ["/", "/hello", "/healthz/x"]) {
        assert.strictEqual((yield* request(address, path)).status, 503)
      }
    }))

  live("once an app is served, all answer as the contract says, and the app is reached", () =>
    Effect.gen(function*() {
      const gateway = yield* start()
      yield* gateway.serve((yield* slowApp).app)
      const { address } = gateway
      const answers: ReadonlyArray<readonly [path: string, body: unknown]> = [
        ["/healthz", alive],
        ["/health", alive],
        ["/readyz", { ready: true }],
        ["/ready", { ready: true }],
        ["/startupz", { ok: true, status: "started" }],
        ["/startup", { ok: true, status: "started" }]
      ]
      for (const [path, body] of answers) {
        const response = yield* request(address, path)
        assert.strictEqual(response.status, 200)
        assert.deepStrictEqual(json(response), body)
        assert.match(response.headers["content-type"] ?? "", /^application\/json/)
        assert.strictEqual(response.headers["cache-control"], "no-store")
        const head = yield* request(address, path, { method: "HEAD" })
        assert.strictEqual(head.status, 200)
        assert.strictEqual(head.body, "")
        const post = yield* request(address, path, { method: "POST" })
        assert.strictEqual(post.status, 405)
        assert.strictEqual(post.headers.allow, "GET, HEAD")
      }
      assert.strictEqual((yield* request(address, "/hello")).body, "world")
      assert.strictEqual((yield* request(address, "/no-such-thing")).status, 404)
    }))

  live("a HEAD answer announces the body that it leaves out, and nothing follows it", () =>
    Effect.gen(function*() {
      const { address } = yield* start()
      const connection = yield* connect(address)
      yield* connection.send("HEAD /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
      yield* connection.closed
      const received = yield* connection.received
      assert.match(received, /^HTTP\/1\.1 200 OK\r\n/)
      assert.isTrue(received.endsWith("\r\n\r\n"), received)
    }))

  live("an app's 404 for what it does not route", () =>
    Effect.gen(function*() {
      const gateway = yield* start()
      yield* gateway.serve(HttpRouter.empty)
      assert.strictEqual((yield* request(gateway.address, "/nothing")).status, 404)
      assert.strictEqual((yield* request(gateway.address, "/")).status, 404)
    }))

  live(
    "the gateway's own routes are not subject to the app, its routes or its middleware",
    () =>
      Effect.gen(function*() {
        const gateway = yield* start()
        const hijacking = HttpRouter.empty.pipe(
          HttpRouter.all("*", HttpServerResponse.text("mine", { status: 418 }))
        )
        const seen = yield* Ref.make<ReadonlyArray<string>>([])
        const middleware = HttpMiddleware.make((app) =>
          Effect.gen(function*() {
            const { url } = yield* HttpServerRequest.HttpServerRequest
            yield* Ref.update(seen, (before) => [...before, url])
            return yield* app
          })
        )
        yield* gateway.serveWith(hijacking, middleware)
        assert.deepStrictEqual(json(yield* request(gateway.address, "/healthz")), alive)
        assert.strictEqual((yield* request(gateway.address, "/anything")).status, 418)
        assert.deepStrictEqual(yield* Ref.get(seen), ["/anything"])
      })
  )

  live("a request handler that dies answers 500 and leaves the gateway alive", () =>
    Effect.gen(function*() {
      const gateway = yield* start()
      yield* gateway.serve(Effect.die("a bug in the app"))
      assert.strictEqual((yield* request(gateway.address, "/hello")).status, 500)
      assert.strictEqual((yield* request(gateway.address, "/healthz")).status, 200)
    }))

  live("of two apps, the one that came last is asked, and no other", () =>
    Effect.gen(function*() {
      const gateway = yield* start()
      const asked: Array<string> = []
      const app = (name: string) =>
        Effect.sync(() => {
          asked.push(name)
          return HttpServerResponse.text(name)
        })
      yield* gateway.serve(app("first"))
      yield* gateway.serve(app("last"))
      assert.strictEqual((yield* request(gateway.address, "/hello")).status, 200)
      assert.deepStrictEqual(asked, ["last"])
    }))

  live("connections are counted, down to none", () =>
    Effect.gen(function*() {
      const gateway = yield* startWithApp({ host: "127.0.0.2" })
      assert.strictEqual(yield* gateway.connections, 0)
      yield* Effect.scoped(Effect.gen(function*() {
        const plain = yield* connect(gateway.address)
        yield* connect({ host: "127.0.0.1", port: gateway.address.port })
        const control = yield* webSocket(gateway.address)
        yield* control.next
        yield* plain.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield* plain.until(/live/)
        yield* eventually("three connections", Effect.map(gateway.connections, (n) => n === 3))
      }))
      yield* eventually("no connection", Effect.map(gateway.connections, (n) => n === 0))
    }))
})

describe("the control socket", () => {
  live("says hello first, answers pings, and says goodbye", () =>
    Effect.gen(function*() {
      const gateway = yield* startWithApp()
      const client = yield* webSocket(gateway.address)
      const hello: unknown = JSON.parse(yield* client.next)
      assert.isObject(hello)
      assert.deepInclude(hello, { type: "hello", instanceId })
      assert.containsAllKeys(hello, ["version", "uptimeMs"])
      yield* client.send("{\"type\":\"ping\",\"id\":\"a\"}")
      assert.deepStrictEqual(JSON.parse(yield* client.next), { type: "pong", id: "a" })
      yield* gateway.shutdown
      const goodbye: unknown = JSON.parse(yield* client.next)
      assert.deepInclude(goodbye, { type: "shutdown" })
      assert.strictEqual((yield* client.closed).code, 1001)
    }))

  live("is there before an app is served; another path is not", () =>
    Effect.gen(function*() {
      const gateway = yield* start()
      assert.match(yield* (yield* webSocket(gateway.address)).next, /hello/)
      assert.include((yield* Effect.flip(webSocket(gateway.address, "/chat"))).message, "503")
    }))

  live("is there beside an app, query or not", () =>
    Effect.gen(function*() {
      const gateway = yield* startWithApp()
      assert.match(yield* (yield* webSocket(gateway.address)).next, /hello/)
      assert.match(yield* (yield* webSocket(gateway.address, "/?token=x")).next, /hello/)
    }))

  it.scopedLive.each<readonly [what: string, data: string | Uint8Array, code: number]>([
    ["what is not JSON", "{", 1007],
    ["JSON that is no message", "{\"type\":\"pang\"}", 1008],
    ["a binary frame", Uint8Array.of(1), 1003],
    ["a frame that is too large", `"${"x".repeat(64 * 1024)}"`, 1009]
  ])("closes on %s", ([, data, code]) =>
    Effect.gen(function*() {
      const gateway = yield* startWithApp()
      const client = yield* webSocket(gateway.address)
      yield* client.next
      yield* client.send(data)
      assert.strictEqual((yield* client.closed).code, code)
      yield* eventually("no connection", Effect.map(gateway.connections, (n) => n === 0))
      assert.strictEqual((yield* request(gateway.address, "/healthz")).status, 200)
    }))

  live("cuts a client that asks and does not read", () =>
    Effect.gen(function*() {
      const gateway = yield* startWithApp()
      const client = yield* connect(gateway.address, { reading: false })
      client.socket.pause()
      yield* client.send(upgradeRequest("/"))
      const ping = textFrame(JSON.stringify({ type: "ping", id: "x".repeat(60_000) }))
      // The client sends more data than fits into the buffers of both sockets and of the gateway. The gateway must cut the
      // connection before the client has sent everything.
      yield* Effect.iterate(0, {
        while: (sent) => sent < 2000 && !client.socket.destroyed,
        body: (sent) =>
          Effect.async<number>((resume) => {
            client.socket.once("close", () => resume(Effect.succeed(sent)))
            client.socket.write(ping, () => resume(Effect.succeed(sent + 1)))
          })
      }).pipe(within("the cut"))
      assert.isTrue(client.socket.destroyed)
      yield* eventually("no connection", Effect.map(gateway.connections, (n) => n === 0))
      assert.strictEqual((yield* request(gateway.address, "/healthz")).status, 200)
    }))
})

describe("an app's own WebSocket", () => {
  const chat = HttpRouter.empty.pipe(
    HttpRouter.get(
      "/chat",
      Effect.flatMap(HttpServerRequest.upgrade, (socket) => echo(socket))
    )
  )

  live("works at its own path, and is told to go away with 1001", () =>
    Effect.gen(function*() {
      const gateway = yield* start()
      yield* gateway.serve(chat)
      const client = yield* webSocket(gateway.address, "/chat")
      yield* client.send("hi")
      assert.strictEqual(yield* client.next, "hi")
      const [took] = yield* timed(gateway.shutdown.pipe(within("the end of the shutdown")))
      assert.strictEqual((yield* client.closed).code, 1001)
      assert.isBelow(took, 4000)
    }))

  live("that its client has closed does not hold a shutdown, where the app is no router", () =>
    Effect.gen(function*() {
      const gateway = yield* start()
      yield* gateway.serve(Effect.flatMap(HttpServerRequest.upgrade, (socket) => echo(socket)))
      yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* webSocket(gateway.address, "/chat")
        yield* client.send("hi")
        assert.strictEqual(yield* client.next, "hi")
      }))
      yield* eventually("no connection", Effect.map(gateway.connections, (n) => n === 0))
      const [took] = yield* timed(gateway.shutdown.pipe(within("the end of the shutdown")))
      assert.isBelow(took, 4000)
    }))

  live("that its client closes does not stay counted", () =>
    Effect.gen(function*() {
      const gateway = yield* start()
      yield* gateway.serve(chat)
      yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* webSocket(gateway.address, "/chat")
        yield* client.send("hi")
        assert.strictEqual(yield* client.next, "hi")
      }))
      yield* eventually("no connection", Effect.map(gateway.connections, (n) => n === 0))
    }))
})

describe("the drain", () => {
  live(
    "finishes what is in flight, accepts no new connection, and closes the one that it finished",
    () =>
      Effect.gen(function*() {
        const gateway = yield* start()
        const { app, reached, release } = yield* slowApp
        yield* gateway.serve(app)
        const connection = yield* connect(gateway.address)
        yield* connection.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield* reached
        const shutdown = yield* Effect.fork(gateway.shutdown)
        yield* gateway.lifecycle.drainBegan
        yield* refused(gateway.address)
        assert.deepStrictEqual((yield* gateway.changes).at(-1), { phase: "draining" })
        assert.strictEqual((yield* Fiber.poll(shutdown))._tag, "None")
        yield* release
        yield* Fiber.join(shutdown).pipe(within("the end of the shutdown"))
        yield* connection.closed
        const received = yield* connection.received
        assert.match(received, /^HTTP\/1\.1 200 OK\r\n/)
        // RFC 9112, 9.6: the header tells the client to send no more requests on the connection.
        assert.match(received, /\r\nconnection: close\r\n/i)
        assert.isTrue(received.endsWith("\r\n\r\ndone"), received)
      })
  )

  live(
    "begins before the app's handlers go: health says so while a request is still in flight elsewhere",
    () =>
      Effect.gen(function*() {
        const gateway = yield* start()
        const { app, reached, release } = yield* slowApp
        yield* gateway.serve(app)
        const slow = yield* Effect.fork(request(gateway.address, "/slow"))
        // The first bytes of this request arrive before the drain begins. During a drain, the gateway answers the requests that
        // it has begun to receive, so it answers this one.
        const asking = yield* connect(gateway.address)
        yield* asking.send("GET /healthz HTTP/1.1\r\n")
        yield* reached
        yield* eventually("two connections", Effect.map(gateway.connections, (n) => n === 2))
        const shutdown = yield* Effect.fork(gateway.shutdown)
        yield* gateway.lifecycle.drainBegan
        yield* asking.send("Host: localhost\r\n\r\n")
        yield* asking.closed
        const answer = yield* asking.received
        assert.match(answer, /^HTTP\/1\.1 503 /)
        assert.deepStrictEqual(JSON.parse(answer.split("\r\n\r\n")[1] ?? ""), draining)
        yield* release
        assert.strictEqual((yield* Fiber.join(slow)).body, "done")
        yield* Fiber.join(shutdown)
      })
  )

  live(
    "answers a client that connected before, and sends its first request shortly after",
    () =>
      Effect.gen(function*() {
        const gateway = yield* start()
        const { app, reached, release } = yield* slowApp
        yield* gateway.serve(app)
        const client = yield* connect(gateway.address)
        const slow = yield* Effect.fork(request(gateway.address, "/slow"))
        yield* reached
        yield* eventually("two connections", Effect.map(gateway.connections, (n) => n === 2))
        const shutdown = yield* Effect.fork(gateway.shutdown)
        yield* refused(gateway.address)
        yield* client.send("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield* client.closed
        assert.match(yield* client.received, /^HTTP\/1\.1 200 [^]*world$/)
        yield* release
        assert.strictEqual((yield* Fiber.join(slow)).body, "done")
        yield* Fiber.join(shutdown)
      })
  )

  live("does not wait for idle keep-alive connections", () =>
    Effect.gen(function*() {
      const gateway = yield* start({ drainTimeout: "1 minute", limits: { keepAliveTimeout: "1 minute" } })
      yield* gateway.serve((yield* slowApp).app)
      const idle = yield* connect(gateway.address)
      yield* idle.send("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
      yield* idle.until(/world$/)
      yield* gateway.shutdown.pipe(within("the end of the shutdown"))
      yield* idle.closed
    }))

  live(
    "answers who has begun to ask again, and closes at once whose last answer was to a long question",
    () =>
      Effect.gen(function*() {
        const gateway = yield* start({ drainTimeout: "1 minute", limits: { keepAliveTimeout: "1 minute" } })
        const { app, reached, release } = yield* slowApp
        yield* gateway.serve(app)
        const idle = yield* connect(gateway.address)
        yield* idle.send("POST /hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n")
        yield* idle.send("x".repeat(70_000))
        yield* idle.until(/\r\n\r\n/)
        const again = yield* connect(gateway.address)
        yield* again.send("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield* again.until(/world$/)
        yield* again.send("GET /hello HTTP/1.1\r\nHost: localhost\r\n")
        const slow = yield* Effect.fork(request(gateway.address, "/slow"))
        yield* reached
        // This request is sent later than the bytes on `again`. So once this request is answered, the gateway has read those bytes.
        yield* request(gateway.address, "/hello")
        const shutdown = yield* Effect.fork(gateway.shutdown)
        yield* gateway.lifecycle.drainBegan
        yield* idle.closed.pipe(within("the end of the idle one"))
        yield* again.send("\r\n")
        yield* again.closed
        assert.match(yield* again.received, /world.*\r\nconnection: close\r\n.*world$/is)
        assert.strictEqual((yield* Fiber.poll(shutdown))._tag, "None")
        yield* release
        assert.strictEqual((yield* Fiber.join(slow)).body, "done")
        yield* Fiber.join(shutdown).pipe(within("the end of the shutdown"))
      })
  )

  live("sends the whole of a large answer to a client that reads slowly", () =>
    Effect.gen(function*() {
      const size = 16 * 1024 * 1024
      const gateway = yield* start()
      yield* gateway.serve(Effect.succeed(HttpServerResponse.uint8Array(new Uint8Array(size).fill(97))))
      const slow = yield* connect(gateway.address, { reading: false })
      yield* slow.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
      const chunks: Array<Buffer> = []
      yield* Effect.async<void>((resume) => {
        slow.socket.once("data", (chunk: Buffer) => {
          chunks.push(chunk)
          slow.socket.pause()
          resume(Effect.void)
        })
      }).pipe(within("the first bytes"))
      const shutdown = yield* Effect.fork(gateway.shutdown)
      yield* gateway.lifecycle.drainBegan
      yield* refused(gateway.address)
      slow.socket.on("data", (chunk: Buffer) => chunks.push(chunk))
      slow.socket.resume()
      yield* slow.closed
      yield* Fiber.join(shutdown)
      const received = Buffer.concat(chunks)
      assert.strictEqual(received.length - received.indexOf("\r\n\r\n") - 4, size)
    }))

  live("sends the whole of an answer that is still being written when another one ends", () =>
    Effect.gen(function*() {
      const parts = 20
      const gateway = yield* start()
      const { app, reached, release } = yield* slowApp
      const go = yield* Deferred.make<void>()
      const streaming = HttpServerResponse.stream(
        Stream.range(1, parts).pipe(
          Stream.mapEffect((part) => part === 1 ? Effect.succeed(part) : Effect.as(Deferred.await(go), part)),
          Stream.map((part) => new TextEncoder().encode(`part ${part}\n`))
        )
      )
      yield* gateway.serve(HttpRouter.empty.pipe(
        HttpRouter.get("/stream", streaming),
        HttpRouter.get("/slow", app)
      ))
      const reader = yield* connect(gateway.address)
      yield* reader.send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
      yield* reader.until(/part 1\n/)
      const slow = yield* Effect.fork(request(gateway.address, "/slow"))
      yield* reached
      const shutdown = yield* Effect.fork(gateway.shutdown)
      yield* gateway.lifecycle.drainBegan
      yield* release
      assert.strictEqual((yield* Fiber.join(slow)).body, "done")
      yield* Deferred.succeed(go, undefined)
      yield* reader.until(new RegExp(`part ${parts}\n`))
      yield* reader.until(/\r\n0\r\n\r\n$/)
      yield* Fiber.join(shutdown)
    }))

  live("cuts a request that never ends at the drain timeout", () =>
    Effect.gen(function*() {
      const gateway = yield* start({ drainTimeout: "300 millis" })
      const { app, reached } = yield* slowApp
      yield* gateway.serve(app)
      const stuck = yield* connect(gateway.address)
      yield* stuck.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
      yield* reached
      const [took] = yield* timed(gateway.shutdown)
      assert.isAtLeast(took, 290)
      assert.isBelow(took, 3000)
      yield* stuck.closed
      yield* eventually("no connection", Effect.map(gateway.connections, (n) => n === 0))
    }))

  live("is cut short by a second signal", () =>
    Effect.gen(function*() {
      const cut = yield* Deferred.make<void>()
      const gateway = yield* start({ drainTimeout: "1 hour", drainCut: Deferred.await(cut) })
      const { app, reached } = yield* slowApp
      yield* gateway.serve(app)
      const stuck = yield* connect(gateway.address)
      yield* stuck.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
      yield* reached
      const shutdown = yield* Effect.fork(gateway.shutdown)
      yield* gateway.lifecycle.drainBegan
      yield* refused(gateway.address)
      assert.strictEqual((yield* Fiber.poll(shutdown))._tag, "None")
      yield* Deferred.succeed(cut, undefined)
      yield* Fiber.join(shutdown).pipe(within("the end of the shutdown"))
      yield* stuck.closed
    }))

  live("is not held by a WebSocket whose peer has gone silent", () =>
    Effect.gen(function*() {
      const gateway = yield* start({ drainTimeout: "300 millis" })
      yield* gateway.serve((yield* slowApp).app)
      const silent = yield* connect(gateway.address)
      yield* silent.send(upgradeRequest("/"))
      yield* silent.until(/hello/)
      const [took] = yield* timed(gateway.shutdown)
      assert.isBelow(took, 3000)
      yield* silent.closed
      assert.match(yield* silent.received, /\{"type":"shutdown","reason":"[a-z]+"\}/)
    }))

  live("a client that comes in with an upgrade during the drain gets no WebSocket", () =>
    Effect.gen(function*() {
      const gateway = yield* start()
      const { app, reached, release } = yield* slowApp
      yield* gateway.serve(app)
      yield* Effect.fork(request(gateway.address, "/slow"))
      const late = yield* connect(gateway.address)
      yield* late.send("GET / HTTP/1.1\r\nHost: localhost\r\n")
      yield* reached
      yield* eventually("two connections", Effect.map(gateway.connections, (n) => n === 2))
      const shutdown = yield* Effect.fork(gateway.shutdown)
      yield* gateway.lifecycle.drainBegan
      yield* late.send(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
      )
      yield* late.closed
      assert.notInclude(yield* late.received, "HTTP/1.1 101")
      yield* release
      yield* Fiber.join(shutdown)
    }))

  live("happens once: a shutdown without an app, and one after another", () =>
    Effect.gen(function*() {
      const gateway = yield* start()
      yield* gateway.shutdown
      yield* gateway.shutdown
      assert.deepStrictEqual((yield* gateway.changes).map(({ phase }) => phase), ["listening", "draining"])
    }))

  live("tells who starts it, and goes on meanwhile", () =>
    Effect.gen(function*() {
      const told = yield* Deferred.make<string>()
      const cut = yield* Deferred.make<void>()
      const gateway = yield* start({
        onDrain: (reason) =>
          Effect.zipRight(Deferred.succeed(told, reason), Deferred.await(cut)).pipe(
            within("the connection's end"),
            Effect.orDie
          )
      })
      const { app, reached, release } = yield* slowApp
      yield* gateway.serve(app)
      const slow = yield* Effect.fork(request(gateway.address, "/slow"))
      yield* reached
      const shutdown = yield* Effect.fork(gateway.shutdown)
      assert.strictEqual(yield* Deferred.await(told).pipe(within("the word")), "finished")
      yield* release
      assert.strictEqual((yield* Fiber.join(slow)).body, "done")
      yield* eventually("no connection", Effect.map(gateway.connections, (n) => n === 0))
      yield* Deferred.succeed(cut, undefined)
      yield* Fiber.join(shutdown)
    }))

  live("tells clients why: a program that was stopped, one that failed", () =>
    Effect.gen(function*() {
      const ends: ReadonlyArray<readonly [exit: Exit.Exit<unknown, unknown>, reason: string]> = [
        [Exit.void, "finished"],
        [Exit.interrupt(FiberId.none), "stopped"],
        [Exit.fail("boom"), "failed"]
      ]
      for (const [exit, reason] of ends) {
        const gateway = yield* startWithApp()
        const client = yield* webSocket(gateway.address)
        yield* client.next
        yield* gateway.shutdownWith(exit)
        assert.deepStrictEqual(JSON.parse(yield* client.next), { type: "shutdown", reason })
        assert.deepStrictEqual(yield* client.closed, { code: 1001, reason })
      }
    }))
})

describe("limits", () => {
  const tooSlow = (what: string, host: string, begin: string) =>
    live(`a client that sends ${what} is cut off at the header timeout (${host})`, () =>
      Effect.gen(function*() {
        const gateway = yield* start({
          host: "127.0.0.2",
          limits: { headersTimeout: "200 millis", requestTimeout: "200 millis" }
        })
        const client = yield* connect({ host, port: gateway.address.port })
        if (begin !== "") yield* client.send(begin)
        const before = yield* Clock.currentTimeMillis
        yield* client.ended
        // The listener checks its time limits only once a second. So it may disconnect the client later than after 200 ms.
        assert.isBelow((yield* Clock.currentTimeMillis) - before, 4000)
        yield* eventually("no connection", Effect.map(gateway.connections, (n) => n === 0))
      }))
  tooSlow("nothing", "127.0.0.2", "")
  tooSlow("nothing", "127.0.0.1", "")
  tooSlow("half a header", "127.0.0.2", "GET /healthz HTTP/1.1\r\nHost:")
  tooSlow("half a header", "127.0.0.1", "GET /healthz HTTP/1.1\r\nHost:")

  live(
    "the limit of connections counts those to all addresses of a gateway together, of every kind",
    () =>
      Effect.gen(function*() {
        const gateway = yield* start({ host: "127.0.0.2", limits: { connections: 5 } })
        const own = gateway.address
        const guard = { ...own, host: "127.0.0.1" }
        const accepted = (address: Address) =>
          Effect.gen(function*() {
            const client = yield* connect(address)
            yield* client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            yield* Effect.raceFirst(client.until(/live/), client.ended)
            return (yield* client.received) === "" ? undefined : client
          })
        const viewer = yield* webSocket(guard)
        yield* viewer.send("{\"type\":\"watch\"}")
        yield* webSocket(own)
        yield* webSocket(guard, "/", { protocols: [watchSubprotocol] })
        const fourth = yield* accepted(own)
        assert.isDefined(fourth)
        assert.isDefined(yield* accepted(guard))
        for (const address of [own, guard, own, guard]) assert.isUndefined(yield* accepted(address))
        assert.strictEqual(yield* gateway.connections, 5)
        fourth?.socket.destroy()
        yield* eventually("room", Effect.map(gateway.connections, (open) => open === 4))
        assert.isDefined(yield* accepted(guard))
        assert.isUndefined(yield* accepted(own))
      })
  )

  live("a connection above the limit is closed at once, and one that ends makes room", () =>
    Effect.gen(function*() {
      const gateway = yield* start({ limits: { connections: 2 } })
      const first = yield* connect(gateway.address)
      const second = yield* connect(gateway.address)
      yield* eventually("two connections", Effect.map(gateway.connections, (n) => n === 2))
      const third = yield* connect(gateway.address)
      yield* third.closed
      assert.strictEqual(yield* third.received, "")
      assert.strictEqual(yield* gateway.connections, 2)
      first.socket.destroy()
      yield* eventually("one connection", Effect.map(gateway.connections, (n) => n === 1))
      assert.strictEqual((yield* request(gateway.address, "/healthz")).status, 200)
      assert.isFalse(second.socket.destroyed)
    }))
})
