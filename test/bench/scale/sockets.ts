/**
 * One gateway with more and more idle control WebSockets, and with clients that watch its status.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { BenchFailed, expectEnd, freePort, millis, type NodeProcess, residentMiB, startNode } from "../processes.ts"
import * as Program from "../program.ts"
import { asker, closedInOrder, openIdle, openPages, percentile95 } from "../webSockets.ts"

export const points = [1_000, 2_500, 5_000, 10_000]

export const watchers = 200

/** The times between these requests add up to several of the intervals in which a watcher gets a frame. */
const requests = 400
const pause = "10 millis"

/** How long the processor time of an idle gateway is counted, in seconds. */
const window = 10

/** The processor time that a process has used, in milliseconds. Linux counts it in hundredths of a second. */
const processorTime = ({ pid }: NodeProcess) =>
  Effect.try({
    try: () => {
      const text = readFileSync(`/proc/${pid}/stat`, "utf8")
      const fields = text.slice(text.lastIndexOf(")") + 2).split(" ")
      return (Number(fields[11]) + Number(fields[12])) * 10
    },
    catch: (cause) => new BenchFailed({ reason: `no processor time of pid ${pid}: ${cause}` })
  })

const ask = (port: number) =>
  Effect.gen(function*() {
    const timed = yield* asker
    const times = yield* Effect.replicateEffect(Effect.zipLeft(timed(port), Effect.sleep(pause)), requests)
    return percentile95(times)
  })

/** Measures one gateway with this many idle WebSockets. */
const gatewayWith = (count: number) =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const limits = { controlSockets: count + watchers, connections: 2 * (count + watchers) }
    yield* Program.writeFile(join(folder, "gateway.json"), JSON.stringify({ limits }))
    const port = yield* freePort
    const process = yield* startNode(Program.gatewayArgs(folder, port))
    yield* process.said("gateway listening")
    const before = yield* residentMiB(process)
    const idle = yield* openIdle(port, count)
    const after = yield* residentMiB(process)
    const pages = yield* openPages(port, watchers)
    const used = yield* processorTime(process)
    yield* Effect.sleep(window * 1000)
    const processor = ((yield* processorTime(process)) - used) / window
    const health = yield* ask(port)
    const closed = yield* Effect.fork(closedInOrder([...idle, ...pages]))
    const stop = yield* stopped(process)
    yield* Fiber.join(closed)
    return { each: eachOf(before, after, count), processor, health, stop }
  }).pipe(Effect.scoped)

const eachOf = (before: number | undefined, after: number | undefined, count: number): number | undefined =>
  before === undefined || after === undefined ? undefined : (after - before) * 1024 / count

/** Ends a server by SIGTERM, and returns how long it takes. */
const stopped = (process: NodeProcess) =>
  Effect.gen(function*() {
    yield* Effect.yieldNow()
    const clock = yield* Effect.clock
    const askedAt = clock.unsafeCurrentTimeNanos()
    process.kill("SIGTERM")
    const { at } = yield* expectEnd(process, 0)
    return millis(askedAt, at)
  })

/** The same with the library `ws` alone, and without watchers. */
const alone = (program: string, count: number) =>
  Effect.gen(function*() {
    const port = yield* freePort
    const process = yield* startNode([program, String(port), "-"])
    yield* process.said("listening")
    const before = yield* residentMiB(process)
    const idle = yield* openIdle(port, count)
    const after = yield* residentMiB(process)
    const closed = yield* Effect.fork(closedInOrder(idle))
    const stop = yield* stopped(process)
    yield* Fiber.join(closed)
    return { each: eachOf(before, after, count), stop }
  }).pipe(Effect.scoped)

/** Measures each point, the gateway after `ws` alone. */
export const measure = (points: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const program = yield* Program.server("sockets", yield* Program.temporaryFolder)
    return yield* Effect.forEach(points, (count) =>
      Effect.gen(function*() {
        const baseline = yield* alone(program, count)
        return { count, baseline, ...yield* gatewayWith(count) }
      }))
  })
