/**
 * In these tests, clients send their first frames together with the request for a WebSocket. So the frames arrive before the
 * app has attached a handler to the socket.
 */
import { HttpRouter, HttpServerRequest, HttpServerResponse, type Socket } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { echo, start } from "../fixtures/listening.ts"
import { connect, eventually, frame, opcode, request, textFrame, upgradeRequest, within } from "../fixtures/net.ts"

const withFirstByte = (first: number, rest: Uint8Array) => Buffer.concat([Buffer.of(first), rest.subarray(1)])

/** Frames that RFC 6455 forbids, and some that it allows. */
const early: ReadonlyArray<readonly [what: string, frames: Uint8Array]> = [
  ["a compressed frame, where nothing was negotiated", withFirstByte(0xc1, textFrame("hi"))],
  ["a reserved bit", withFirstByte(0xa1, textFrame("hi"))],
  ["a reserved opcode", frame(3, "hi")],
  ["a reserved control opcode", frame(0xb, "hi")],
  ["an unmasked frame", Buffer.of(0x81, 0x02, 0x68, 0x69)],
  ["a continuation of nothing", frame(opcode.continuation, "hi")],
  ["a ping in fragments", frame(opcode.ping, "hi", { isFinal: false })],
  ["a ping that is too long", frame(opcode.ping, "x".repeat(126))],
  ["text that is not UTF-8", frame(opcode.text, Buffer.of(0xc3, 0x28))],
  ["a close with a code that nobody may send", frame(opcode.close, Buffer.of(0x03, 0xed))],
  ["a close of one byte", frame(opcode.close, "x")],
  ["a frame of 2^63 bytes", Buffer.of(0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)],
  ["a frame of a gigabyte", Buffer.of(0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0)],
  ["a close", frame(opcode.close, Buffer.of(0x03, 0xe8))],
  ["two pings, then nonsense", Buffer.concat([frame(opcode.ping), frame(opcode.ping), Buffer.from("nonsense")])]
]

const later = (socket: Socket.Socket) => Effect.delay(echo(socket), "20 millis")

/**
 * An app whose routes attach a handler to the WebSocket at once, after some work, or never. One route has a handler that fails,
 * and one is mounted behind a prefix.
 */
const app = HttpRouter.empty.pipe(
  HttpRouter.get("/at-once", Effect.flatMap(HttpServerRequest.upgrade, (socket) => echo(socket))),
  HttpRouter.get("/later", Effect.flatMap(HttpServerRequest.upgrade, later)),
  HttpRouter.get("/no-socket", HttpServerResponse.text("no")),
  HttpRouter.get(
    "/fails",
    Effect.flatMap(HttpServerRequest.upgrade, (socket) => socket.run(() => Effect.dieMessage("by the test"))).pipe(
      Effect.as(HttpServerResponse.empty())
    )
  ),
  HttpRouter.mount(
    "/mounted",
    HttpRouter.empty.pipe(HttpRouter.get("/later", Effect.flatMap(HttpServerRequest.upgrade, later)))
  )
)
const paths = ["/at-once", "/later", "/no-socket", "/fails", "/mounted/later"]

/**
 * Sends bytes to each path twice, and ends the connection once by a close and once by a reset. Afterwards the server must have no
 * open connection, and must be able to shut down.
 */
const inVain = (bytes: Uint8Array) =>
  Effect.gen(function*() {
    const gateway = yield* start()
    yield* gateway.serve(app)
    const received: Array<string> = []
    for (const path of [...paths, "/"]) {
      for (const end of ["closes", "resets"] as const) {
        yield* Effect.scoped(Effect.gen(function*() {
          const client = yield* connect(gateway.address)
          client.socket.write(Buffer.concat([Buffer.from(upgradeRequest(path)), bytes]))
          if (end === "resets") return void client.socket.resetAndDestroy()
          yield* client.until(/\r\n\r\n/)
          received.push(yield* client.received)
        }))
      }
      assert.strictEqual((yield* request(gateway.address, "/healthz")).status, 200, path)
    }
    yield* eventually("no connection", Effect.map(gateway.connections, (n) => n === 0))
    yield* gateway.shutdown.pipe(within("the end of the shutdown"))
    return received
  }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))

describe("a client that sends with its request for a WebSocket", () => {
  for (const [what, frames] of early) {
    it.scopedLive(`${what}, ends its own connection at most, and holds no shutdown`, () =>
      Effect.gen(function*() {
        const received = yield* inVain(frames)
        assert.deepStrictEqual(received.map((text) => text.slice(9, 12)), ["101", "101", "200", "101", "101", "101"])
      }))
  }
})

describe("a client that asks for a WebSocket", () => {
  const ask = (path: string, lines: ReadonlyArray<string>) =>
    [`GET ${path} HTTP/1.1`, "Host: localhost", "Connection: Upgrade", "Upgrade: websocket", ...lines, "", ""].join(
      "\r\n"
    )
  const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
  const version = "Sec-WebSocket-Version: 13"
  const invalid: ReadonlyArray<readonly [what: string, lines: ReadonlyArray<string>]> = [
    ["without a key", [version]],
    ["with a key that is too short", [version, "Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="]],
    ["with two keys", [version, key, key]],
    ["without a version", [key]],
    ["of another version", [key, "Sec-WebSocket-Version: 12"]],
    ["with an empty list of protocols", [key, version, "Sec-WebSocket-Protocol:"]],
    ["with a protocol twice", [key, version, "Sec-WebSocket-Protocol: a, a"]],
    ["with a protocol that is no name", [key, version, "Sec-WebSocket-Protocol: a b"]]
  ]
  for (const [what, lines] of invalid) {
    it.scopedLive(`${what}, gets 400 where a WebSocket is, and holds no shutdown`, () =>
      Effect.gen(function*() {
        const gateway = yield* start()
        yield* gateway.serve(app)
        for (const path of paths) {
          const client = yield* connect(gateway.address)
          yield* client.send(ask(path, lines))
          yield* client.ended
          assert.match(yield* client.received, path === "/no-socket" ? /^HTTP\/1\.1 200 / : /^HTTP\/1\.1 400 /, path)
        }
        yield* eventually("no connection", Effect.map(gateway.connections, (n) => n === 0))
        yield* gateway.shutdown.pipe(within("the end of the shutdown"))
      }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))))
  }

  it.scopedLive("of version 8, and with protocols, is served", () =>
    Effect.gen(function*() {
      const gateway = yield* start()
      yield* gateway.serve(app)
      const client = yield* connect(gateway.address)
      yield* client.send(ask("/at-once", [key, "Sec-WebSocket-Version: 8", "Sec-WebSocket-Protocol: a,\tb.c , d"]))
      yield* client.until(/\r\n\r\n/)
      assert.match(yield* client.received, /^HTTP\/1\.1 101 /)
    }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))))
})
