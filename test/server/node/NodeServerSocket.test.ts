import { HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Ref, Scope } from "effect"
import * as Access from "../../../src/server/Access.ts"
import { limitsOf } from "../../../src/server/ListenerOptions.ts"
import * as NodeServerSocket from "../../../src/server/node/NodeServerSocket.ts"
import { type ConnectionLimits, type OwnRoutes, ServerSocket } from "../../../src/server/ServerSocket.ts"
import {
  canBind,
  connect,
  eventually,
  refused,
  request,
  soon,
  tcpServer,
  textFrame,
  upgradeRequest,
  webSocket,
  within
} from "../../fixtures/net.ts"
import { noIPv6, unless } from "../../fixtures/skips.ts"

const hasIPv6 = await canBind("::1")

const limits: ConnectionLimits = limitsOf({
  connections: 100,
  requestTimeout: "10 seconds",
  keepAliveTimeout: "10 seconds",
  frameBytes: 1000
})

const routes: OwnRoutes["Type"] = {
  owns: (path) => path === "/own",
  app: Effect.succeed(HttpServerResponse.text("own")),
  control: {
    path: Option.some("/control"),
    hello: Effect.succeed("hello"),
    answer: (frame) => ({ send: [frame._tag === "Text" ? `got ${frame.text}` : "got bytes"] }),
    watch: () => Effect.never,
    farewell: (reason) => `bye: ${reason}`
  }
}

const bind = (host = "127.0.0.1", port = 0) =>
  Effect.flatMap(
    ServerSocket,
    (sockets) =>
      sockets.bind({ address: { host, port }, limits, rules: Access.rules({ host }), routes, drainBegan: Effect.never })
  ).pipe(
    Effect.provide(NodeServerSocket.layer)
  )

const app = Effect.succeed(HttpServerResponse.text("app"))

describe("binding, live", () => {
  it.scopedLive("a free port is told, and a second bind of it is refused while the first lasts", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { address } = yield* Scope.extend(bind(), scope)
      assert.strictEqual(address.host, "127.0.0.1")
      const error = yield* Effect.flip(bind("127.0.0.1", address.port))
      assert.deepInclude(error, { _tag: "BindError", code: "EADDRINUSE", host: "127.0.0.1", port: address.port })
      assert.match(error.message, /^listen EADDRINUSE: /)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* soon(bind("127.0.0.1", address.port))).address.port, address.port)
    }))

  it.scopedLive("a wildcard is refused where a specific address is taken, and the other way round", () =>
    Effect.gen(function*() {
      const specific = yield* bind()
      assert.strictEqual((yield* Effect.flip(bind("0.0.0.0", specific.address.port))).code, "EADDRINUSE")
      const wildcard = yield* bind("0.0.0.0")
      assert.strictEqual((yield* Effect.flip(bind("127.0.0.1", wildcard.address.port))).code, "EADDRINUSE")
    }))

  it.scopedLive("an address of another machine is told from a port in use", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(bind("192.0.2.1", 4711))
      assert.deepInclude(error, { code: "EADDRNOTAVAIL", host: "192.0.2.1", port: 4711 })
    }))

  it.scopedLive("of many who bind one port at once, one gets it", () =>
    Effect.gen(function*() {
      const { port } = yield* Effect.tap(Effect.scoped(tcpServer(() => {})), refused)
      const exits = yield* Effect.forEach(Array.from({ length: 8 }), () => Effect.exit(bind("127.0.0.1", port)), {
        concurrency: "unbounded"
      })
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
    }))

  it.scopedLive("a bind that is interrupted leaves nothing bound", () =>
    Effect.gen(function*() {
      const { port } = yield* Effect.tap(Effect.scoped(tcpServer(() => {})), refused)
      for (let round = 0; round < 10; round++) {
        const binding = yield* Effect.fork(Effect.scoped(Effect.zipRight(bind("127.0.0.1", port), Effect.never)))
        if (round % 2 === 0) yield* Effect.yieldNow()
        yield* Fiber.interrupt(binding).pipe(within("the interruption"))
      }
      assert.strictEqual((yield* soon(bind("127.0.0.1", port))).address.port, port)
    }))

  unless(noIPv6(hasIPv6)).scopedLive(
    "one server listens on a second host, same port, until the scope closes",
    () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const bound = yield* Scope.extend(bind("::1"), scope)
        yield* Scope.extend(bound.alsoBind("127.0.0.1"), scope)
        const also = { host: "127.0.0.1", port: bound.address.port }
        assert.strictEqual((yield* request(also, "/own")).body, "own")
        assert.strictEqual((yield* request(bound.address, "/own")).body, "own")
        assert.strictEqual((yield* Effect.flip(bind(also.host, also.port))).code, "EADDRINUSE")
        yield* Scope.close(scope, Exit.void)
        yield* refused(also)
        yield* refused(bound.address)
      })
  )

  it.scopedLive("a second host that is taken is an error of its own, and the first goes on", () =>
    Effect.gen(function*() {
      const taken = yield* tcpServer(() => {})
      const bound = yield* bind("127.0.0.2", taken.port)
      const error = yield* Effect.flip(bound.alsoBind("127.0.0.1"))
      assert.deepInclude(error, { code: "EADDRINUSE", host: "127.0.0.1", port: taken.port })
      assert.strictEqual((yield* request(bound.address, "/own")).body, "own")
    }))
})

describe("routing, live", () => {
  it.scopedLive("own paths never reach an app, all paths do before there is one", () =>
    Effect.gen(function*() {
      const bound = yield* bind()
      assert.strictEqual((yield* request(bound.address, "/other")).body, "own")
      yield* bound.server.serve(app)
      assert.strictEqual((yield* request(bound.address, "/other")).body, "app")
      assert.strictEqual((yield* request(bound.address, "/own")).body, "own")
      assert.strictEqual((yield* request(bound.address, "/own?x")).body, "own")
    }))

  it.scopedLive("the control socket never reaches an app", () =>
    Effect.gen(function*() {
      const bound = yield* bind()
      yield* bound.server.serve(Effect.die("the app was asked"))
      const client = yield* webSocket(bound.address, "/control")
      assert.strictEqual(yield* client.next, "hello")
      yield* client.send("x")
      assert.strictEqual(yield* client.next, "got x")
      yield* client.send(Uint8Array.of(1))
      assert.strictEqual(yield* client.next, "got bytes")
      yield* bound.closeControlSockets("bye", 1001, "gone")
      assert.strictEqual(yield* client.next, "bye")
      assert.deepStrictEqual(yield* client.closed, { code: 1001, reason: "gone" })
    }))

  it.scopedLive("a broken WebSocket handshake is refused, and does no harm", () =>
    Effect.gen(function*() {
      const bound = yield* bind()
      yield* bound.server.serve(app)
      const client = yield* connect(bound.address)
      yield* client.send(upgradeRequest("/control").replace("Version: 13", "Version: 1"))
      assert.match(yield* client.until(/\r\n\r\n/), /^HTTP\/1\.1 4\d\d /)
      assert.strictEqual((yield* request(bound.address, "/own")).body, "own")
    }))

  it.scopedLive("a control client that breaks the protocol is closed with the fitting code", () =>
    Effect.gen(function*() {
      const bound = yield* bind()
      yield* bound.server.serve(app)
      const client = yield* webSocket(bound.address, "/control")
      yield* client.next
      yield* client.send("x".repeat(1001))
      assert.strictEqual((yield* client.closed).code, 1009)
      const raw = yield* connect(bound.address)
      yield* raw.send(upgradeRequest("/control"))
      yield* raw.until(/hello/)
      // These bytes are an unmasked text frame, which a client must not send.
      yield* raw.send(Uint8Array.of(0x81, 0x01, 0x78))
      yield* raw.closed
      yield* eventually("no connection", Effect.map(bound.connections, (n) => n === 0))
    }))
})

describe("shutting down, live", () => {
  it.scopedLive("idle is when it accepts nobody and the last connection has gone", () =>
    Effect.gen(function*() {
      const bound = yield* bind()
      yield* bound.server.serve(Effect.never)
      const client = yield* connect(bound.address)
      yield* client.send("GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n")
      yield* eventually("a connection", Effect.map(bound.connections, (n) => n === 1))
      const idle = yield* Effect.fork(bound.idle)
      yield* bound.stopAccepting
      yield* refused(bound.address)
      assert.strictEqual((yield* Fiber.poll(idle))._tag, "None")
      yield* bound.destroyConnections
      yield* Fiber.join(idle).pipe(within("idle"))
      yield* client.closed
      assert.strictEqual(yield* bound.connections, 0)
    }))

  it.scopedLive("without connections it is idle at once, and stopping twice is stopping", () =>
    Effect.gen(function*() {
      const bound = yield* bind("127.0.0.2")
      yield* bound.alsoBind("127.0.0.1")
      yield* bound.stopAccepting
      yield* bound.idle.pipe(within("idle"))
      yield* bound.stopAccepting
      yield* bound.destroyConnections
    }))

  it.scopedLive("closing the scope cuts what is left, whatever it does", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const bound = yield* Scope.extend(bind("127.0.0.2"), scope)
      yield* Scope.extend(bound.alsoBind("127.0.0.1"), scope)
      yield* Scope.extend(bound.server.serve(Effect.never), scope)
      const idle = yield* connect(bound.address)
      const stuck = yield* connect({ host: "127.0.0.1", port: bound.address.port })
      yield* stuck.send("GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n")
      const socket = yield* webSocket(bound.address, "/control")
      yield* eventually("three connections", Effect.map(bound.connections, (n) => n === 3))
      yield* Scope.close(scope, Exit.void).pipe(within("the close"))
      yield* idle.closed
      yield* stuck.closed
      assert.strictEqual((yield* socket.closed).code, 1006)
    }))
})

describe("watching, live", () => {
  const bindWatched = (watch: OwnRoutes["Type"]["control"]["watch"]) =>
    Effect.flatMap(
      ServerSocket,
      (sockets) =>
        sockets.bind({
          address: { host: "127.0.0.1", port: 0 },
          limits,
          rules: Access.rules({ host: "127.0.0.1" }),
          drainBegan: Effect.never,
          routes: { ...routes, control: { ...routes.control, answer: () => ({ send: [], watch: true }), watch } }
        })
    ).pipe(Effect.provide(NodeServerSocket.layer))

  it.scopedLive("begins once, however often it is asked for, and ends with the client", () =>
    Effect.gen(function*() {
      const begun = yield* Ref.make(0)
      const ended = yield* Deferred.make<void>()
      const bound = yield* bindWatched(({ push }) =>
        Ref.updateAndGet(begun, (n) => n + 1).pipe(
          Effect.flatMap((n) => push(`begun ${n}`)),
          Effect.zipRight(Effect.never),
          Effect.onInterrupt(() => Deferred.succeed(ended, undefined))
        )
      )
      yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* webSocket(bound.address, "/control")
        assert.strictEqual(yield* client.next, "hello")
        yield* client.send("watch")
        yield* client.send("watch")
        assert.strictEqual(yield* client.next, "begun 1")
      }))
      yield* Deferred.await(ended).pipe(within("the end of watching"))
      yield* eventually("no connection", Effect.map(bound.connections, (n) => n === 0))
      assert.strictEqual(yield* Ref.get(begun), 1)
      assert.strictEqual(yield* bound.pending, 0)
    }))

  it.scopedLive("a client that does not read what it is pushed is cut, before much is kept for it", () =>
    Effect.gen(function*() {
      const cut = yield* Deferred.make<number>()
      const bound = yield* bindWatched(({ push }) =>
        Effect.gen(function*() {
          const pushed = yield* Ref.make(0)
          return yield* Ref.update(pushed, (n) => n + 1).pipe(
            Effect.zipRight(push("x".repeat(100_000))),
            Effect.zipRight(Effect.yieldNow()),
            Effect.zipRight(Effect.sleep("1 millis")),
            Effect.forever,
            Effect.onInterrupt(() => Effect.flatMap(Ref.get(pushed), (n) => Deferred.succeed(cut, n)))
          )
        })
      )
      const client = yield* connect(bound.address, { reading: false })
      yield* client.send(upgradeRequest("/control"))
      yield* client.send(textFrame("watch"))
      // A push has 100 kB. The pushes first fill the buffers of the kernel and then the buffer of the gateway, which is one
      // megabyte. Then the gateway disconnects the client.
      assert.isBelow(yield* Deferred.await(cut).pipe(within("the cut")), 500)
      yield* eventually("no connection", Effect.map(bound.connections, (n) => n === 0))
    }))

  it.scopedLive("closing the scope cuts who watches, too", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const bound = yield* Scope.extend(bindWatched(({ push }) => Effect.zipRight(push("begun"), Effect.never)), scope)
      const client = yield* webSocket(bound.address, "/control")
      yield* client.next
      yield* client.send("watch")
      assert.strictEqual(yield* client.next, "begun")
      yield* bound.destroyConnections
      assert.strictEqual(yield* bound.connections, 1)
      yield* Scope.close(scope, Exit.void).pipe(within("the close"))
      assert.strictEqual((yield* client.closed).code, 1006)
    }))
})
