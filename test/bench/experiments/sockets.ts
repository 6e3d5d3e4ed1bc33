/**
 * Opens thousands of idle WebSockets to one server. Measures the memory for each WebSocket, and how long all of them delay a
 * shutdown of the server.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { join } from "node:path"
import { measure } from "../measure.ts"
import { expectEnd, freePort, millis, residentMiB, startNode } from "../processes.ts"
import * as Program from "../program.ts"
import { closedInOrder, openIdle } from "../webSockets.ts"

const sockets = 5_000

/** Starts a server, opens all sockets, tells the server to end, and checks the close code that each socket gets. */
const lifeWithSockets = (argsFor: (port: number) => ReadonlyArray<string>, ready: string) =>
  Effect.gen(function*() {
    const port = yield* freePort
    const process = yield* startNode(argsFor(port))
    yield* process.said(ready)
    const before = yield* residentMiB(process)
    const all = yield* openIdle(port, sockets)
    const after = yield* residentMiB(process)
    const closed = yield* Effect.fork(closedInOrder(all))
    yield* Effect.yieldNow()
    const clock = yield* Effect.clock
    const askedAt = clock.unsafeCurrentTimeNanos()
    process.kill("SIGTERM")
    const { at } = yield* expectEnd(process, 0)
    yield* Fiber.join(closed)
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
      runs: Math.min(runs, 2),
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
