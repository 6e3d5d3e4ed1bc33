/**
 * Each gateway offers a WebSocket of its own at `/`, the control socket. A start that waits for the gateway's end connects there
 * too, as a watcher, with a subprotocol. These tests send floods of every kind of frame over real sockets, on control sockets and as
 * watchers. The gateway must end the socket that a flood comes from, and no other.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { watchSubprotocol } from "../../src/probe/OwnerWatch.ts"
import { type Options, start } from "../fixtures/listening.ts"
import { connect, eventually, frame, opcode, request, upgradeRequest, webSocket } from "../fixtures/net.ts"

const live = it.scopedLive

const watchRequest = upgradeRequest("/").replace(
  "\r\n\r\n",
  `\r\nSec-WebSocket-Protocol: ${watchSubprotocol}\r\n\r\n`
)
const openings = [["a control socket", upgradeRequest("/")], ["a watcher", watchRequest]] as const

interface Flood {
  readonly what: string
  /** Bytes that are sent once before the flood. */
  readonly first?: Uint8Array
  readonly each: Uint8Array
}

const part = { isFinal: false }
const floods: ReadonlyArray<Flood> = [
  { what: "pings of the protocol", each: frame(opcode.text, "{\"type\":\"ping\"}") },
  { what: "watch messages", each: frame(opcode.text, "{\"type\":\"watch\"}") },
  { what: "empty text frames", each: frame(opcode.text) },
  { what: "text frames that are no messages", each: frame(opcode.text, "[]") },
  { what: "binary frames", each: frame(opcode.binary, Buffer.of(1)) },
  {
    what: "empty continuation frames",
    first: frame(opcode.text, "", part),
    each: frame(opcode.continuation, "", part)
  },
  { what: "fragments of a byte", first: frame(opcode.text, "x", part), each: frame(opcode.continuation, "x", part) },
  { what: "pings", each: frame(opcode.ping) },
  { what: "pings that are as large as can be", each: frame(opcode.ping, Buffer.alloc(125)) },
  { what: "pongs that were not asked for", each: frame(opcode.pong) },
  { what: "close frames", each: frame(opcode.close, Buffer.of(3, 232)) },
  { what: "close frames that are too large", each: frame(opcode.close, Buffer.alloc(60_000, 3)) },
  { what: "frames of an unknown kind", each: frame(0x0b) }
]

/** The number of timers in this process. It would grow with a flood if the gateway set a timer for each frame. */
const held = Effect.sync(() => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length)

const flooded = (options: Options, opening: string, { each, first }: Flood, frames = 10_000) =>
  Effect.gen(function*() {
    const gateway = yield* start(options)
    const client = yield* connect(gateway.address)
    yield* client.send(opening)
    yield* client.until(/ 101 /)
    const before = yield* held
    if (first !== undefined) yield* client.send(first)
    // The frames are sent in many chunks, so that some arrive after the server has decided to end the socket. The server must
    // ignore those.
    const chunk = Buffer.concat(Array.from({ length: 100 }, () => each))
    yield* Effect.repeat(client.send(chunk), Schedule.recurs(Math.ceil(frames / 100) - 1))
    yield* client.ended
    const after = yield* held
    // Only a few timers may be new: those of the test's client, and the one with which the server closes the socket.
    assert.isAtMost(after - before, 5, "timers")
    client.socket.destroy()
    yield* eventually("no connection", Effect.map(gateway.connections, (open) => open === 0))
    assert.strictEqual((yield* request(gateway.address, "/healthz")).status, 200)
  })

for (const [kind, opening] of openings) {
  describe(`${kind} that sends a flood of`, () => {
    for (const flood of floods) {
      live(`${flood.what} is ended, and keeps one timer at most`, () => flooded({}, opening, flood))
    }
  })
}

describe("a control socket", () => {
  live("in pieces of a byte is ended once the pieces of one frame are too many", () =>
    Effect.gen(function*() {
      const gateway = yield* start({ limits: { frameBytes: 4096 } })
      const client = yield* connect(gateway.address)
      yield* client.send(upgradeRequest("/"))
      yield* client.until(/hello/)
      client.socket.setNoDelay(true)
      const byte = Effect.zipRight(client.send("x"), Effect.sleep("1 millis"))
      yield* client.send(frame(opcode.text, Buffer.alloc(4096)).subarray(0, 10))
      yield* Effect.raceFirst(client.ended, Effect.repeat(byte, Schedule.recurs(2000)))
      yield* client.ended
      assert.isBelow(client.socket.bytesWritten, 2000)
    }))

  live("that reads no pongs is ended once too many wait for it", () =>
    Effect.gen(function*() {
      const gateway = yield* start({ limits: { framesPerSecond: 1_000_000, bufferedBytes: 1000 } })
      const client = yield* connect(gateway.address, { reading: false })
      yield* client.send(upgradeRequest("/"))
      const pings = Buffer.concat(Array.from({ length: 500 }, () => frame(opcode.ping, Buffer.alloc(125))))
      yield* Effect.raceFirst(
        client.closed,
        Effect.forever(Effect.zipRight(client.send(pings), Effect.sleep("1 millis")))
      )
      yield* eventually("no connection", Effect.map(gateway.connections, (open) => open === 0))
    }))

  live("is told why: 1008", () =>
    Effect.gen(function*() {
      const gateway = yield* start({ limits: { framesPerSecond: 5 } })
      for (const data of [Buffer.alloc(0), ""]) {
        const client = yield* webSocket(gateway.address)
        yield* Effect.repeat(client.pong, Schedule.recurs(30))
        assert.deepStrictEqual(yield* client.closed, { code: 1008, reason: "too many frames in a second" }, `${data}`)
      }
    }))
})

describe("a watcher", () => {
  live(
    "is closed with 1008 at its first frame, and one that answers pings with pongs stays",
    () =>
      Effect.gen(function*() {
        const gateway = yield* start()
        const protocols = [watchSubprotocol]
        for (
          const say of [
            (client: Effect.Effect.Success<ReturnType<typeof webSocket>>) => client.send(""),
            (client: Effect.Effect.Success<ReturnType<typeof webSocket>>) => client.send(Buffer.of(1)),
            (client: Effect.Effect.Success<ReturnType<typeof webSocket>>) => client.ping
          ]
        ) {
          const client = yield* webSocket(gateway.address, "/", { protocols })
          yield* say(client)
          assert.deepStrictEqual(yield* client.closed, { code: 1008, reason: "a watcher must not send messages" })
        }
        const quiet = yield* connect(gateway.address)
        yield* quiet.send(watchRequest)
        yield* quiet.until(/ 101 /)
        yield* Effect.repeat(quiet.send(frame(opcode.pong)), Schedule.recurs(20))
        yield* eventually("the quiet one alone", Effect.map(gateway.connections, (open) => open === 1))
        yield* Effect.fork(gateway.shutdown)
        yield* quiet.until(/shutdown/)
      })
  )
})
