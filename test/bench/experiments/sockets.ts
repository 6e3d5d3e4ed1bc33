/**
 * Opens thousands of idle WebSockets to one server. Measures the memory for each WebSocket, and how long all of them delay a
 * shutdown of the server.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { join } from "node:path"
import { WebSocket } from "ws"
import { measure } from "../measure.ts"
import { BenchFailed, bounded, expectEnd, freePort, host, millis, residentMiB, startNode } from "../processes.ts"
import * as Program from "../program.ts"

const sockets = 5_000

/** How many sockets are opened at one time. The backlog of a listener is larger, so no connection is dropped. */
const atOnce = 100

const open = (port: number) =>
  Effect.acquireRelease(
    Effect.async<WebSocket, BenchFailed>((resume) => {
      const socket = new WebSocket(`ws://${host}:${port}`, { perMessageDeflate: false })
      socket.once("open", () => resume(Effect.succeed(socket)))
      socket.on("error", (error) => resume(new BenchFailed({ reason: error.message })))
    }),
    (socket) => Effect.sync(() => socket.terminate())
  )

const closedBy = (socket: WebSocket) =>
  Effect.async<number>((resume) => {
    socket.once("close", (code) => resume(Effect.succeed(code)))
  })

/** Starts a server, opens all sockets, tells the server to end, and checks the close code that each socket gets. */
const lifeWithSockets = (argsFor: (port: number) => ReadonlyArray<string>, ready: string) =>
  Effect.gen(function*() {
    const port = yield* freePort
    const process = yield* startNode(argsFor(port))
    yield* process.said(ready)
    const before = yield* residentMiB(process)
    const all = yield* Effect.forEach(Array.from({ length: sockets }), () => open(port), { concurrency: atOnce }).pipe(
      bounded(`${sockets} sockets`)
    )
    const after = yield* residentMiB(process)
    const closed = yield* Effect.fork(Effect.forEach(all, closedBy, { concurrency: "unbounded" }))
    yield* Effect.yieldNow()
    const clock = yield* Effect.clock
    const askedAt = clock.unsafeCurrentTimeNanos()
    process.kill("SIGTERM")
    const { at } = yield* expectEnd(process, 0)
    const codes = yield* Fiber.join(closed)
    const others = codes.filter((code) => code !== 1001)
    if (others.length > 0) {
      return yield* new BenchFailed({ reason: `${others.length} sockets were closed with ${others[0]}` })
    }
    return {
      each: before === undefined || after === undefined ? undefined : (after - before) * 1024 / sockets,
      drain: millis(askedAt, at)
    }
  })

export const idleSockets: Program.Experiment = (runs) =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    yield* Program.writeFile(
      join(folder, "gateway.json"),
      JSON.stringify({ limits: { controlSockets: sockets, connections: 2 * sockets } })
    )
    const alone = yield* Program.server("sockets", folder)
    return yield* measure({
      runs: Math.min(runs, 3),
      baseline: {
        name: "ws alone",
        sample: lifeWithSockets((port) => [alone, String(port), folder], "listening")
      },
      subject: {
        name: "gateway",
        sample: lifeWithSockets((port) => Program.gatewayArgs(folder, port), "gateway listening")
      },
      rows: [
        { name: `${sockets} idle WebSockets: memory of each`, unit: "KiB", read: ({ each }) => each, compare: "ratio" },
        {
          name: `${sockets} idle WebSockets: SIGTERM to exit`,
          unit: "ms",
          read: ({ drain }) => drain,
          compare: "ratio"
        }
      ]
    })
  })
