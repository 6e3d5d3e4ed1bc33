/**
 * Sends tens of thousands of random requests and frames to the built program. Some are valid, some are changed at random, some
 * are garbage, and some are well-formed but extreme. Checks that the gateway stays healthy and leaks no connection and no memory.
 *
 * A seed determines what the test sends. Every failure shows the seed, and this command repeats the run:
 * `GATEWAY_FUZZ_SEED=… npx vitest run test/e2e/fuzz.test.ts`.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Config, Duration, Effect, FastCheck as fc, Fiber, Option, Queue, Schedule, Schema } from "effect"
import * as Fs from "node:fs/promises"
import * as Net from "node:net"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { frame as wellFormed, opcode } from "../fixtures/net.ts"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import type * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"

const seed = Effect.runSync(Config.withDefault(Config.integer("GATEWAY_FUZZ_SEED"), 20_261_121))
const total = 10_000
/** How many connections are open at one time. */
const crowd = 20
/** The longest time that `exchange` keeps a connection open. */
const patience = Duration.seconds(3)

const token = "fuzz-token-of-thirty-two-characters"
const carrier = Clients.tokenCarrier(token)

// ---------------------------------------------------------------------------
// requests and frames
// ---------------------------------------------------------------------------

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array))

const latin1 = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  maxLength: 60
})

const method = fc.constantFrom("GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "TRACE", "CONNECT", "get", "PRI", "")
const target = fc.oneof(
  fc.constantFrom(
    "/",
    "/healthz",
    "/readyz",
    "/startupz",
    "/metrics",
    "/x",
    "*",
    "http://127.0.0.1/",
    "//",
    "/%00",
    ""
  ),
  fc.webPath(),
  latin1
)
const header = fc.oneof(
  fc.constantFrom(
    "Host: localhost",
    "Host: 127.0.0.1:1",
    "Host: [::1]",
    "Host: evil.example",
    "Host:",
    "Origin: http://localhost",
    "Origin: null",
    `Authorization: Bearer ${token}`,
    "Authorization: Bearer x",
    "Authorization: Basic eDp5",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Upgrade: h2c",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    `Sec-WebSocket-Protocol: gateway, ${carrier}`,
    "Sec-WebSocket-Protocol: gateway-watch",
    "Sec-WebSocket-Extensions: permessage-deflate",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip",
    "Expect: 100-continue",
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: -1",
    "Cookie: a=b"
  ),
  fc.tuple(latin1, latin1).map(([name, value]) => `${name}: ${value}`),
  fc.integer({ min: 1, max: 40_000 }).map((length) => `X-Long: ${"x".repeat(length)}`)
)
const request = fc.record({
  method,
  target,
  version: fc.constantFrom("HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "http/1.1", ""),
  headers: fc.array(header, { maxLength: 8 }),
  lineEnd: fc.constantFrom("\r\n", "\r\n", "\r\n", "\n"),
  body: bytes(200)
}).map(({ body, headers, lineEnd, method, target, version }) =>
  Buffer.concat([
    Buffer.from([`${method} ${target} ${version}`, ...headers, "", ""].join(lineEnd), "latin1"),
    body
  ])
)
const valid = fc.constantFrom("/healthz", "/readyz", "/startupz", "/x").map((path) =>
  Buffer.from(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
)

/** Makes one change at a random place: it replaces one byte, cuts off the rest, or repeats the beginning. */
const changed = (whole: fc.Arbitrary<Buffer>) =>
  fc.tuple(whole, fc.nat(), fc.nat({ max: 255 }), fc.constantFrom("byte", "cut", "double")).map(
    ([whole, at, byte, how]) => {
      const place = whole.length === 0 ? 0 : at % whole.length
      const [before, after] = [whole.subarray(0, place), whole.subarray(place)]
      switch (how) {
        case "byte":
          return Buffer.concat([before, Buffer.of(byte), after.subarray(1)])
        case "cut":
          return before
        default:
          return Buffer.concat([before, before, after])
      }
    }
  )

const opening = Buffer.from(
  "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    + `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: gateway, ${carrier}\r\n\r\n`
)
/** Draws a WebSocket frame (RFC 6455, 5.2) that may be malformed: its opcode, flags, mask bit and stated length are random. */
const frame = fc.record({
  first: fc.oneof(fc.constantFrom(0x81, 0x82, 0x88, 0x89, 0x8a, 0x01, 0x00, 0x80), fc.nat({ max: 255 })),
  isMasked: fc.constantFrom(true, true, true, false),
  lie: fc.constantFrom(0, 0, 0, 0, 1, 100_000),
  payload: fc.oneof(
    fc.json().map((text) => Buffer.from(`{"type":"ping","id":${text}}`)),
    fc.constant(Buffer.from("{\"type\":\"ping\"}")),
    fc.integer({ min: 60_000, max: 70_000 }).map((length) => Buffer.alloc(length, "x")),
    bytes(150)
  )
}).map(({ first, isMasked, lie, payload }) => {
  const length = payload.length + lie
  const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10)
  head[0] = first
  head[1] = (isMasked ? 0x80 : 0) | (length < 126 ? length : length < 65_536 ? 126 : 127)
  if (head.length === 4) head.writeUInt16BE(length, 2)
  if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2)
  return Buffer.concat([head, isMasked ? Buffer.alloc(4) : Buffer.alloc(0), payload])
})
const conversation = fc.array(frame, { minLength: 1, maxLength: 10 }).map((frames) => ({ opening, parts: frames }))

interface Sent {
  readonly opening: Buffer
  readonly parts: ReadonlyArray<Buffer>
}

const alone = (opening: Buffer): Sent => ({ opening, parts: [] })
const sent: fc.Arbitrary<Sent> = fc.oneof(
  { weight: 2, arbitrary: valid.map(alone) },
  { weight: 4, arbitrary: request.map(alone) },
  { weight: 3, arbitrary: changed(fc.oneof(request, valid, fc.constant(opening))).map(alone) },
  { weight: 2, arbitrary: bytes(2000).map(alone) },
  { weight: 2, arbitrary: fc.tuple(request, request, valid).map((all) => alone(Buffer.concat(all))) },
  { weight: 5, arbitrary: conversation }
)

// ---------------------------------------------------------------------------
// well-formed extremes
// ---------------------------------------------------------------------------

const watcherOpening = Buffer.from(opening.toString().replace(`gateway, ${carrier}`, "gateway-watch"))

const nested = fc.record({
  depth: fc.integer({ min: 1, max: 30_000 }),
  around: fc.constantFrom(
    ["", ""],
    ["{\"type\":\"ping\",\"id\":", "}"],
    ["{\"type\":\"ping\",\"more\":", "}"],
    ["{\"type\":\"watch\",\"id\":", "}"],
    ["{\"type\":", "}"],
    ["{\"type\":\"other\",\"x\":", "}"]
  ),
  brackets: fc.constantFrom(["[", "", "]"], ["{\"a\":", "1", "}"], ["[", "", ""], ["[[],", "1", "]"])
}).map(({ around: [before, after], brackets: [open = "", core, close = ""], depth }) => {
  const count = Math.min(depth, Math.floor(64_000 / (open.length + close.length)))
  return `${before}${open.repeat(count)}${core}${close.repeat(count)}${after}`
})

/** One WebSocket frame, or a few frames that belong together, such as the fragments of one message. */
const unit = fc.oneof(
  nested.map((text) => [wellFormed(opcode.text, text)]),
  nested.map((text) => [wellFormed(opcode.binary, text)]),
  nested.map((text) => [
    wellFormed(opcode.text, text.slice(0, 1000), { isFinal: false }),
    wellFormed(opcode.continuation, text.slice(1000))
  ])
)

const part = { isFinal: false }
const flooding: fc.Arbitrary<ReadonlyArray<Uint8Array>> = fc.record({
  kind: fc.constantFrom<readonly [first: Uint8Array | undefined, each: Uint8Array]>(
    [undefined, wellFormed(opcode.text, "{\"type\":\"ping\",\"id\":1}")],
    [undefined, wellFormed(opcode.text, "{\"type\":\"watch\"}")],
    [undefined, wellFormed(opcode.text)],
    [undefined, wellFormed(opcode.text, "[]")],
    [undefined, wellFormed(opcode.binary, "x")],
    [undefined, wellFormed(opcode.binary)],
    [wellFormed(opcode.text, "", part), wellFormed(opcode.continuation, "", part)],
    [wellFormed(opcode.text, "x", part), wellFormed(opcode.continuation, "x", part)],
    [wellFormed(opcode.binary, "x", part), wellFormed(opcode.ping, "x")],
    [undefined, wellFormed(opcode.ping)],
    [undefined, wellFormed(opcode.ping, Buffer.alloc(125))],
    [undefined, wellFormed(opcode.pong)],
    [undefined, wellFormed(opcode.pong, Buffer.alloc(125))],
    [undefined, wellFormed(opcode.close)],
    [undefined, wellFormed(opcode.close, Buffer.of(3, 232))],
    [undefined, wellFormed(opcode.close, Buffer.alloc(70_000))]
  ),
  count: fc.constantFrom(1, 10, 199, 201, 500)
}).map(({ count, kind: [first, each] }) => [
  ...(first === undefined ? [] : [first]),
  ...Array.from({ length: each.length > 1000 ? 1 : count }, () => each)
])

const upgrade = fc.record({
  head: fc.constantFrom(
    "GET / HTTP/1.1",
    "GET /healthz HTTP/1.1",
    "GET /x HTTP/1.1",
    "POST /x HTTP/1.1",
    "GET / HTTP/1.0",
    "OPTIONS * HTTP/1.1"
  ),
  protocols: fc.array(
    fc.constantFrom("h2c", "websocket", "WebSocket", "HTTP/2.0", "TLS/1.0", "foo", "", "websocket/13", ",", "a b"),
    { minLength: 1, maxLength: 4 }
  ),
  headers: fc.subarray([
    "Connection: Upgrade",
    "Connection: Upgrade, HTTP2-Settings",
    "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
    "Upgrade: h2c",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Expect: 100-continue"
  ]),
  body: fc.constantFrom(
    "\r\n",
    "Content-Length: 5\r\n\r\nabcde",
    "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"
  ),
  times: fc.integer({ min: 1, max: 8 })
}).map(({ body, head, headers, protocols, times }) => ({
  times,
  bytes: Buffer.from(
    [head, "Host: localhost", `Upgrade: ${protocols.join(", ")}`, ...headers, body].join("\r\n").repeat(times)
  )
}))

interface Extreme extends Sent {
  /** The number of requests and frames. */
  readonly count: number
}
const socketExtreme = (frames: fc.Arbitrary<ReadonlyArray<Uint8Array>>): fc.Arbitrary<Extreme> =>
  fc.record({ opening: fc.constantFrom(opening, watcherOpening), frames }).map(({ frames, opening }) => ({
    opening,
    parts: frames.length > 10 ? [Buffer.concat(frames)] : frames.map((bytes) => Buffer.from(bytes)),
    count: 1 + frames.length
  }))
const extreme: fc.Arbitrary<Extreme> = fc.oneof(
  { weight: 3, arbitrary: socketExtreme(flooding) },
  { weight: 2, arbitrary: socketExtreme(fc.array(unit, { minLength: 1, maxLength: 4 }).map((units) => units.flat())) },
  { weight: 2, arbitrary: upgrade.map(({ bytes, times }) => ({ opening: bytes, parts: [], count: times })) }
)

/** Sends the opening and all parts. Then waits until the gateway closes the connection or has been silent for a while. */
const exchange = (site: Gateways.Site, { opening, parts }: Sent): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    const socket = Net.connect({ host: "127.0.0.1", port: site.port })
    socket.setTimeout(50, () => socket.destroy())
    socket.on("error", () => {})
    socket.on("close", () => resume(Effect.void))
    socket.resume()
    socket.write(opening)
    for (const part of parts) socket.write(part)
    return Effect.sync(() => socket.destroy())
  }).pipe(Effect.timeoutFailCause({ duration: patience, onTimeout: () => Cause.die(new Error("a connection hangs")) }))

// ---------------------------------------------------------------------------
// memory and sockets of the gateway
// ---------------------------------------------------------------------------

const residentBytes = (pid: number) =>
  Effect.promise(async () =>
    Number(/VmRSS:\s+(\d+)/.exec(await Fs.readFile(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024
  )

const openSockets = (pid: number) =>
  Effect.promise(async () => {
    const folder = `/proc/${pid}/fd`
    const links = await Promise.all(
      (await Fs.readdir(folder)).map((fd) => Fs.readlink(`${folder}/${fd}`).catch(() => ""))
    )
    return links.filter((link) => link.startsWith("socket:")).length
  })

/** Waits until the process has this number of open sockets. The effect dies if that takes too long. */
const untilOpen = (pid: number, sockets: number) =>
  openSockets(pid).pipe(
    Effect.repeat({ until: (now) => now === sockets, schedule: Schedule.spaced("20 millis") }),
    Effect.timeoutFailCause({
      duration: "15 seconds",
      onTimeout: () => Cause.die(new Error(`connections leaked (seed ${seed})`))
    })
  )

const decodeMemory = Schema.decodeUnknown(Schema.parseJson(Schema.Struct({ heapUsed: Schema.Number })))

/** Returns the heap size after a garbage collection. The gateway preloads `support/heap.cjs`, which writes it to `file` on SIGUSR2. */
const heapBytes = (gateway: Processes.Running, file: string) =>
  Effect.gen(function*() {
    yield* Effect.promise(() => Fs.rm(file, { force: true }))
    yield* gateway.signal("SIGUSR2")
    const text = yield* Effect.tryPromise(() => Fs.readFile(file, "utf8")).pipe(
      Effect.retry({ times: 500, schedule: Schedule.spaced("10 millis") }),
      Effect.orDie
    )
    return (yield* Effect.orDie(decodeMemory(text))).heapUsed
  })

/** Probes `/healthz` repeatedly over one connection. Reports the number of answers and the longest wait in milliseconds. */
const probing = (site: Gateways.Site) =>
  Effect.gen(function*() {
    const answered = yield* Queue.unbounded<void>()
    const socket = yield* Effect.acquireRelease(
      Effect.sync(() => Net.connect({ host: "127.0.0.1", port: site.port })),
      (socket) => Effect.sync(() => socket.destroy())
    )
    socket.on("error", () => {})
    socket.on("data", (chunk: Buffer) => chunk.includes("\"live\"") && Queue.unsafeOffer(answered, undefined))
    let [answers, longest] = [0, 0]
    const probe = Effect.gen(function*() {
      socket.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
      const [took] = yield* Queue.take(answered).pipe(
        Effect.timed,
        Effect.timeoutFailCause({
          duration: "5 seconds",
          onTimeout: () => Cause.die(new Error(`no answer for 5 s (seed ${seed})`))
        })
      )
      answers += 1
      longest = Math.max(longest, Duration.toMillis(took))
      yield* Effect.sleep("25 millis")
    })
    // The first probe opens the connection, so the number of open sockets that the test counts next includes this connection.
    yield* probe
    const fiber = yield* Effect.forkScoped(Effect.forever(probe))
    /** Returns the result so far. Fails the test if a probe was not answered. */
    const report = Effect.gen(function*() {
      const exit = yield* Fiber.poll(fiber)
      if (Option.isSome(exit)) return yield* exit.value
      return { answers, longest }
    })
    return { report }
  })

/**
 * Opens a connection, sends the bytes, and keeps the connection open until the scope closes. Returns the first 12 characters of
 * the answer, or an empty text if the gateway does not answer.
 */
const hold = (site: Gateways.Site, bytes: Buffer) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.async<{ readonly socket: Net.Socket; readonly answer: string }>((resume) => {
        const socket = Net.connect({ host: "127.0.0.1", port: site.port })
        socket.on("error", () => {})
        socket.once("data", (chunk: Buffer) =>
          resume(Effect.succeed({ socket, answer: chunk.toString("latin1", 0, 12) })))
        socket.once("close", () =>
          resume(Effect.succeed({ socket, answer: "" })))
        socket.write(bytes)
      }),
      ({ socket }) => Effect.sync(() => socket.destroy())
    ),
    ({ answer }) => answer
  )

const noProc = Program.isLinux ? undefined : "needs /proc"

describe("a gateway", () => {
  it.scopedLive.skipIf(noProc !== undefined)(
    Program.named(`is as it was after ${total} drawn requests and frames`, noProc),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        // A small heap makes Node collect garbage early, so that garbage does not count as memory in use.
        const env = { GATEWAY_TOKEN: token, NODE_OPTIONS: "--max-semi-space-size=1 --max-old-space-size=48" }
        const gateway: Processes.Running = yield* Gateways.startListening(site, { env })
        const before = yield* openSockets(gateway.pid)
        const closed = untilOpen(gateway.pid, before)
        const round = (seed: number, count: number) =>
          Effect.gen(function*() {
            const drawn = fc.sample(sent, { seed, numRuns: count })
            yield* Effect.forEach(drawn, (sent) => exchange(site, sent), { concurrency: crowd, discard: true })
            yield* closed
            return drawn.reduce((sum, { parts }) => sum + 1 + parts.length, 0)
          })

        const instanceId = yield* Clients.instanceIdOf(site)
        yield* round(seed + 1, 1500)
        const warm = yield* residentBytes(gateway.pid)

        let count = 0
        for (let part = 2; count < total; part++) count += yield* round(seed + part, 500)

        const after = yield* residentBytes(gateway.pid)
        assert.isBelow(after / warm, 1.2, `${after} bytes after ${warm} (seed ${seed})`)
        assert.strictEqual(yield* Clients.instanceIdOf(site), instanceId)
        const { stderr } = yield* Gateways.stop(gateway).pipe(Effect.tap((ended) => Gateways.assertGone(site, ended)))
        // Bad input from a client is no error of the gateway, so the gateway logs no warning or error about it. Only the warning
        // about missing kernel locks may appear.
        assert.strictEqual(Gateways.count(stderr, /level=(WARN|ERROR|FATAL)/), Program.kernelLocks ? 0 : 1, stderr)
        assert.notInclude(stderr, token)
        yield* Effect.logInfo(`sent ${count} requests and frames; resident ${warm} → ${after} bytes (seed ${seed})`)
      }),
    180_000
  )

  it.scopedLive.skipIf(noProc !== undefined)(
    Program.named(
      `answers /healthz during ${total} well-formed extremes, and its heap is as before`,
      noProc
    ),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const slots = { controlSockets: 40, connections: 400 }
        yield* Gateways.writeConfig(site, { limits: slots })
        const heapFile = Path.join(site.root, "heap.json")
        const preload = fileURLToPath(new URL("./support/heap.cjs", import.meta.url))
        const gateway = yield* Gateways.startListening(site, {
          env: { GATEWAY_TOKEN: token, GATEWAY_TEST_HEAP_FILE: heapFile, NODE_OPTIONS: `--require ${preload}` }
        })
        const { report } = yield* probing(site)
        const before = yield* openSockets(gateway.pid)
        const settled = untilOpen(gateway.pid, before)
        const round = (seed: number, runs: number) =>
          Effect.gen(function*() {
            const drawn = fc.sample(extreme, { seed, numRuns: runs })
            yield* Effect.forEach(drawn, (sent) => exchange(site, sent), { concurrency: crowd, discard: true })
            return drawn.reduce((sum, { count }) => sum + count, 0)
          })
        /** Connects more clients of each kind than the gateway's connection limits allow, and checks how many are served. */
        const crowds = Effect.scoped(Effect.gen(function*() {
          const answersTo = (count: number, bytes: Buffer) =>
            Effect.forEach(Array.from({ length: count }), () => hold(site, bytes), { concurrency: crowd })
          const opened = (answers: ReadonlyArray<string>) =>
            answers.filter((answer) => answer === "HTTP/1.1 101").length
          const control = yield* answersTo(slots.controlSockets + 20, opening)
          assert.strictEqual(opened(control), slots.controlSockets)
          assert.strictEqual(control.filter((answer) => answer === "HTTP/1.1 503").length, 20)
          // A watcher is a client that waits for the end of the gateway. It gets only the answer to its handshake. The gateway
          // also limits the number of watchers.
          const watchers = yield* answersTo(120, watcherOpening)
          assert.isAtMost(opened(watchers), 120)
          const request = Buffer.from("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
          const plain = yield* answersTo(slots.connections, request)
          const places = slots.connections - slots.controlSockets - opened(watchers) - 1
          assert.strictEqual(plain.filter((answer) => answer === "HTTP/1.1 200").length, places)
          assert.strictEqual(plain.filter((answer) => answer === "").length, slots.connections - places)
        }))

        yield* round(seed + 1, 800)
        yield* crowds
        yield* settled
        const heapBefore = yield* heapBytes(gateway, heapFile)
        let count = 0
        for (let part = 2; count < total * 3; part++) count += yield* round(seed + part, 100)
        yield* crowds
        yield* settled
        const heapAfter = yield* heapBytes(gateway, heapFile)
        const { answers, longest } = yield* report
        assert.isBelow(heapAfter / heapBefore, 1.2, `${heapAfter} bytes after ${heapBefore} (seed ${seed})`)
        assert.isAbove(answers, 10)
        const { stderr } = yield* Gateways.stop(gateway).pipe(Effect.tap((ended) => Gateways.assertGone(site, ended)))
        assert.strictEqual(Gateways.count(stderr, /level=(WARN|ERROR|FATAL)/), Program.kernelLocks ? 0 : 1, stderr)
        yield* Effect.logInfo(
          `sent ${count}; heap ${heapBefore} → ${heapAfter} bytes; ${answers} probes, the longest ${longest} ms (seed ${seed})`
        )
      }),
    120_000
  )
})
