import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import type * as Net from "node:net"
import { NotWatchable, OwnerWatch, watchSubprotocol } from "../../src/probe/OwnerWatch.ts"
import * as Watch from "../../src/probe/OwnerWatch.ts"
import { start } from "../fixtures/listening.ts"
import { eventually, httpServer, refused, tcpServer, webSocket, within } from "../fixtures/net.ts"

const ended = (address: { readonly host: string; readonly port: number }) =>
  Effect.flatMap(OwnerWatch, (watch) => watch.ended(address)).pipe(
    Effect.provide(Watch.layerLive),
    within("the watch")
  )

/**
 * Starts a server that answers the first bytes of a request with `answer`. `asked` completes with those bytes, and `gone`
 * completes when the connection has closed.
 */
const answering = (answer: string | ((socket: Net.Socket) => void)) =>
  Effect.gen(function*() {
    const gone = yield* Deferred.make<void>()
    const asked = yield* Deferred.make<string>()
    const address = yield* tcpServer((socket) => {
      socket.once("data", (chunk: Buffer) => {
        Deferred.unsafeDone(asked, Effect.succeed(chunk.toString("latin1")))
        if (typeof answer === "string") socket.write(answer)
        else answer(socket)
      })
      socket.on("end", () => socket.end()).on("close", () => Deferred.unsafeDone(gone, Effect.void))
    })
    return {
      address,
      asked: within("the request")(Deferred.await(asked)),
      gone: within("the client to go")(Deferred.await(gone))
    }
  })

const switching = (...lines: ReadonlyArray<string>) =>
  ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket", ...lines, "", ""].join("\r\n")

describe("OwnerWatch, live", () => {
  it.scopedLive("completes when the watched gateway shuts down", () =>
    Effect.gen(function*() {
      const gateway = yield* start()
      const watching = yield* Effect.fork(ended(gateway.address))
      yield* eventually("the watcher", Effect.map(gateway.connections, (open) => open === 1))
      // The gateway accepts this second watch later than the first one (`watching`). So once the second watch is open, the first
      // one is open too.
      yield* webSocket(gateway.address, "/", { protocols: [watchSubprotocol] })
      assert.strictEqual((yield* Fiber.poll(watching))._tag, "None")
      const shutdown = yield* Effect.fork(gateway.shutdown)
      yield* Fiber.join(watching)
      yield* within("the shutdown")(Fiber.join(shutdown))
    }))

  it.scopedLive("completes at once where nothing listens", () =>
    Effect.gen(function*() {
      const address = yield* Effect.tap(Effect.scoped(tcpServer(() => {})), refused)
      yield* ended(address)
    }))

  it.scopedLive("completes when the watched connection is cut, by whatever means", () =>
    Effect.gen(function*() {
      for (const end of [(socket: Net.Socket) => socket.end(), (socket: Net.Socket) => socket.resetAndDestroy()]) {
        const server = yield* answering((socket) => {
          socket.write(switching(`Sec-WebSocket-Protocol: ${watchSubprotocol}`), () => end(socket))
        })
        yield* ended(server.address)
      }
    }))

  it.scopedLive("fails where all watcher slots of a gateway are taken", () =>
    Effect.gen(function*() {
      const gateway = yield* start()
      yield* Effect.forEach(
        Array.from({ length: 100 }),
        () => webSocket(gateway.address, "/", { protocols: [watchSubprotocol] }),
        { concurrency: 10, discard: true }
      )
      assert.deepStrictEqual(
        yield* Effect.flip(ended(gateway.address)),
        new NotWatchable({ ...gateway.address, reason: "answered HTTP 503" })
      )
    }))

  it.scopedLive.each<readonly [what: string, status: number]>([
    ["a web server", 200],
    ["a server that wants a login", 401],
    ["a server without that path", 404]
  ])("fails at an HTTP answer: %s", ([, status]) =>
    Effect.gen(function*() {
      const address = yield* httpServer(status, "hello")
      assert.strictEqual((yield* Effect.flip(ended(address)))._tag, "NotWatchable")
    }))

  it.scopedLive.each<readonly [what: string, answer: string]>([
    ["speaks another protocol", "SSH-2.0-OpenSSH_9.6\r\n\r\n"],
    ["upgrades without the subprotocol", switching()],
    ["upgrades to another subprotocol", switching("Sec-WebSocket-Protocol: chat")],
    ["upgrades to something else", switching().replace("Upgrade: websocket", "Upgrade: h2c")]
  ])("fails where the listener %s, and leaves no connection behind", ([, answer]) =>
    Effect.gen(function*() {
      const server = yield* answering(answer)
      assert.strictEqual((yield* Effect.flip(ended(server.address)))._tag, "NotWatchable")
      yield* server.gone
    }))

  it.scopedLive("fails where the listener closes before it has answered", () =>
    Effect.gen(function*() {
      const server = yield* answering((socket) => socket.end())
      assert.strictEqual((yield* Effect.flip(ended(server.address)))._tag, "NotWatchable")
    }))

  it.scopedLive("fails where the listener stays silent, and leaves no connection behind", () =>
    Effect.gen(function*() {
      const server = yield* answering(() => {})
      const error = yield* Effect.flip(ended(server.address))
      assert.deepStrictEqual(
        error,
        new NotWatchable({ ...server.address, reason: "gave no answer within 1000ms" })
      )
      yield* server.gone
    }))

  it.scopedLive("closes the connection when it is interrupted, before and after the answer", () =>
    Effect.gen(function*() {
      for (const answer of ["", switching(`Sec-WebSocket-Protocol: ${watchSubprotocol}`)]) {
        const server = yield* answering(answer)
        const watching = yield* Effect.fork(ended(server.address))
        assert.match(yield* server.asked, /^GET \/ HTTP\/1\.1\r\n/)
        // This second watch begins later. So once it has its answer, the first watch has its answer too.
        if (answer !== "") yield* Effect.ignore(ended(yield* httpServer(404, "")))
        assert.strictEqual((yield* Fiber.poll(watching))._tag, "None")
        yield* Fiber.interrupt(watching)
        yield* server.gone
      }
    }))
})
