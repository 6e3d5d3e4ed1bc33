import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, type Scope } from "effect"
import type * as Net from "node:net"
import { maxAnswerBytes, ProbeTransport } from "../../src/host/ProbeTransport.ts"
import * as Transport from "../../src/host/ProbeTransport.ts"
import { classify } from "../../src/probe/HealthProbe.ts"
import { canBind, httpServer, refused, tcpServer, within } from "../fixtures/net.ts"
import { noIPv6, unless } from "../fixtures/skips.ts"

const hasIPv6 = await canBind("::1")

const get = (address: { readonly host: string; readonly port: number }, path = "/healthz") =>
  Effect.flatMap(ProbeTransport, (transport) => transport.get(address, path)).pipe(within("an answer"))

const live = (name: string, self: () => Effect.Effect<void, unknown, Scope.Scope | ProbeTransport>, reason?: string) =>
  unless(reason).scopedLive(name, () => Effect.provide(self(), Transport.layerLive))

/** A server that responds when it gets a request, and reports when its client has closed the connection. */
const asked = (respond: (socket: Net.Socket) => void) =>
  Effect.gen(function*() {
    const request = yield* Deferred.make<string>()
    const gone = yield* Deferred.make<void>()
    let connections = 0
    const address = yield* tcpServer((socket) => {
      connections += 1
      socket.once("data", (chunk: Buffer) => {
        Deferred.unsafeDone(request, Effect.succeed(chunk.toString()))
        respond(socket)
      })
      socket.on("close", () => Deferred.unsafeDone(gone, Effect.void))
      socket.on("end", () => socket.end())
    })
    return {
      address,
      request: within("the request")(Deferred.await(request)),
      gone: within("the client to go")(Deferred.await(gone)),
      connections: Effect.sync(() => connections)
    }
  })

describe("ProbeTransport, live", () => {
  live("a closed port has no listener", () =>
    Effect.gen(function*() {
      const address = yield* Effect.tap(Effect.scoped(tcpServer(() => {})), refused)
      const error = yield* Effect.flip(get(address))
      assert.deepInclude(error, { _tag: "ProbeFailed", reason: "NoListener" })
      assert.include(error.message, "ECONNREFUSED")
    }))

  live("an HTTP answer: status and body, whatever they are", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* get(yield* httpServer(200, "{\"ok\":true}")), {
        status: 200,
        body: "{\"ok\":true}"
      })
      assert.deepStrictEqual(yield* get(yield* httpServer(503, "")), { status: 503, body: "" })
      assert.deepStrictEqual(yield* get(yield* httpServer(302, "\u00fc")), { status: 302, body: "\u00fc" })
    }))

  live("over IPv6 too", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* get(yield* httpServer(200, "six", "::1"))).body, "six")
    }), noIPv6(hasIPv6))

  live("asks once, on a connection of its own that is closed afterwards", () =>
    Effect.gen(function*() {
      const server = yield* asked((socket) => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
      assert.strictEqual((yield* get(server.address, "/healthz?x=1")).body, "ok")
      const request = yield* server.request
      assert.match(request, /^GET \/healthz\?x=1 HTTP\/1\.1\r\n/)
      assert.match(request, /^connection: close\r$/im)
      // The server does not close the connection after its answer. So `gone` completes only because the client closes the
      // connection.
      yield* server.gone
      assert.strictEqual(yield* server.connections, 1)
    }))

  it.scopedLive.each<readonly [what: string, answer: string]>([
    ["garbage", "SSH-2.0-OpenSSH_9.6\r\n"],
    ["half a status line", "HTTP/1.1 2"],
    ["nothing", ""],
    ["headers that end nowhere", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"],
    ["a body that ends too soon", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"ok\":true}"],
    ["a chunk that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
    ["headers without end", `HTTP/1.1 200 OK\r\n${"X-Y: zzzzzzzz\r\n".repeat(5000)}`]
  ])("who answers with %s and goes is not HTTP", ([, answer]) =>
    Effect.gen(function*() {
      const server = yield* asked((socket) => socket.end(answer))
      const error = yield* Effect.flip(get(server.address))
      assert.deepInclude(error, { _tag: "ProbeFailed", reason: "NotHttp" })
      assert.isNotEmpty(error.message)
    }).pipe(Effect.provide(Transport.layerLive)))

  live("who speaks first, as mail servers do, is not HTTP", () =>
    Effect.gen(function*() {
      const address = yield* tcpServer((socket) => socket.write("220 mail.example ESMTP\r\n"))
      assert.deepInclude(yield* Effect.flip(get(address)), { reason: "NotHttp" })
    }))

  live("who resets is not HTTP", () =>
    Effect.gen(function*() {
      const server = yield* asked((socket) => socket.resetAndDestroy())
      assert.deepInclude(yield* Effect.flip(get(server.address)), { reason: "NotHttp" })
      const atOnce = yield* tcpServer((socket) => socket.resetAndDestroy())
      assert.deepInclude(yield* Effect.flip(get(atOnce)), { reason: "NotHttp" })
    }))

  live("who switches protocols is not HTTP", () =>
    Effect.gen(function*() {
      const server = yield* asked((socket) =>
        socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
      )
      const error = yield* Effect.flip(get(server.address))
      assert.deepInclude(error, { reason: "NotHttp", detail: "switched protocols" })
      yield* server.gone
    }))

  live("who is silent is waited for, and left the moment the probe is interrupted", () =>
    Effect.gen(function*() {
      const server = yield* asked(() => {})
      const asking = yield* Effect.fork(get(server.address))
      yield* server.request
      assert.strictEqual((yield* Fiber.poll(asking))._tag, "None")
      yield* Fiber.interrupt(asking)
      yield* server.gone
    }))

  live("who drips is left in the middle of the body", () =>
    Effect.gen(function*() {
      const server = yield* asked((socket) => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"ok\""))
      const asking = yield* Effect.fork(get(server.address))
      yield* server.request
      yield* Fiber.interrupt(asking)
      yield* server.gone
    }))

  live("who never stops is read as far as a health answer can be, and left", () =>
    Effect.gen(function*() {
      const server = yield* asked((socket) => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n")
        const chunk = "x".repeat(1024)
        const pump = () => {
          while (!socket.destroyed && socket.write(chunk));
        }
        socket.on("drain", pump)
        pump()
      })
      const answer = yield* get(server.address)
      assert.strictEqual(answer.body.length, maxAnswerBytes)
      yield* server.gone
    }))

  live("a health answer with thousands of keys is recognised", () =>
    Effect.gen(function*() {
      const more = Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`check-${index}`, "passing"]))
      const body = JSON.stringify({ ...more, ok: true, status: "live" })
      assert.isAbove(body.length, 100_000)
      assert.deepStrictEqual(classify(yield* get(yield* httpServer(200, body))), { _tag: "Healthy" })
    }))

  live("a body that is exactly as long as may be is read whole", () =>
    Effect.gen(function*() {
      for (const length of [maxAnswerBytes - 1, maxAnswerBytes, maxAnswerBytes + 1]) {
        const answer = yield* get(yield* httpServer(200, "x".repeat(length)))
        assert.strictEqual(answer.body.length, Math.min(length, maxAnswerBytes))
      }
    }))

  live("is not redirected", () =>
    Effect.gen(function*() {
      const server = yield* asked((socket) =>
        socket.end("HTTP/1.1 302 Found\r\nLocation: /healthz\r\nContent-Length: 0\r\n\r\n")
      )
      assert.strictEqual((yield* get(server.address)).status, 302)
      assert.strictEqual(yield* server.connections, 1)
    }))
})
