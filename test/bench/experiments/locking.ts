/**
 * Measures one lock and unlock within one process, without a port. This project's lock writes and removes two files, and each file
 * contains a record of the owner. The other locks in the comparison do less work.
 *
 * A library makes its calls in libuv's thread pool. The program blocks its thread instead, because a start serves nothing else.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import { createHook } from "node:async_hooks"
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as Contenders from "../../chaos/support/contenders.ts"
import { alone, measure, type Measured } from "../measure.ts"
import { BenchFailed, millis } from "../processes.ts"
import * as Program from "../program.ts"

const perSample = 20

type Contender = "kernel" | "blocking" | "record" | "os-lock" | "proper-lockfile"

/** Acquires and releases a lock once. */
const turnOf = (contender: Contender) =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const acquire = yield* Contenders.make(contender, { folder, pollInterval: Duration.millis(50), step: Effect.void })
    const turn = Effect.scoped(acquire).pipe(
      Effect.mapError(({ reason }) => new BenchFailed({ reason })),
      // The log is off, because this project's lock logs a warning each time that it is acquired without a kernel lock.
      Logger.withMinimumLogLevel(LogLevel.None)
    )
    // The first lock loads modules and creates folders, so it is not measured.
    yield* turn
    return turn
  })

/** The average time of one lock and unlock, in milliseconds. */
const lockAndUnlock = (contender: Contender) =>
  Effect.gen(function*() {
    const turn = yield* turnOf(contender)
    const clock = yield* Effect.clock
    const began = clock.unsafeCurrentTimeNanos()
    yield* Effect.replicateEffect(turn, perSample)
    return millis(began, clock.unsafeCurrentTimeNanos()) / perSample
  })

const figures = [
  ["proper-lockfile", "proper-lockfile", "blocking", "kernel, as the program", { most: 3 }],
  ["fs-native-extensions", "os-lock", "blocking", "kernel, as the program", { most: 20 }],
  ["proper-lockfile", "proper-lockfile", "kernel", "kernel, in the thread pool", { most: 3 }],
  ["fs-native-extensions", "os-lock", "kernel", "kernel, in the thread pool", { most: 20 }],
  ["proper-lockfile", "proper-lockfile", "record", "record only, in the thread pool", undefined]
] as const

// ---------------------------------------------------------------------------
// numbers of calls
// ---------------------------------------------------------------------------

/** The number of calls that an effect makes in libuv's thread pool for files. */
const roundTrips = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<number, E, R> =>
  Effect.suspend(() => {
    let count = 0
    const hook = createHook({
      init: (_, type) => {
        if (type === "FSREQCALLBACK" || type === "FSREQPROMISE") count += 1
      }
    }).enable()
    return Effect.map(Effect.ensuring(self, Effect.sync(() => hook.disable())), () => count)
  })

/** Calls by which threads wait for each other, and calls of the memory allocator. Their number depends on chance. */
const otherCalls = /^(futex|epoll_\w+|read|write|mprotect|madvise|mmap|munmap|sched_yield|restart_syscall|timerfd_\w+)$/

/** Adds up the calls in the table of `strace -c`. */
const callsIn = (summary: string): number =>
  summary.split("\n").reduce((sum, line) => {
    const [, calls, name = ""] = /^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$/.exec(line) ?? []
    return calls === undefined || name === "total" || otherCalls.test(name) ? sum : sum + Number(calls)
  }, 0)

/** The number of system calls of this process during an effect. Fails without strace(1), or if it may not trace this process. */
const systemCalls = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<number, E | BenchFailed, R> =>
  Effect.gen(function*() {
    const strace = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn("strace", ["-c", "-f", "-p", String(process.pid)], { stdio: ["ignore", "ignore", "pipe"] })
      ),
      (strace) => Effect.sync(() => strace.kill("SIGINT"))
    )
    let said = ""
    const attached = new Promise<boolean>((resolve) => {
      strace.once("error", () => resolve(false)).once("exit", () => resolve(false))
      strace.stderr.on("data", (text: Buffer) => {
        said += text.toString()
        if (/attached/.test(said)) resolve(true)
      })
    })
    if (!(yield* Effect.promise(() => attached))) return yield* new BenchFailed({ reason: "strace cannot trace" })
    yield* self
    const exited = once(strace, "close")
    strace.kill("SIGINT")
    yield* Effect.promise(() => exited)
    return callsIn(said)
  }).pipe(Effect.scoped)

const counts = [["blocking", "kernel, as the program"], ["kernel", "kernel, in the thread pool"]] as const

/** How many calls one lock and unlock makes. */
const counted = ([contender, mode]: typeof counts[number]) =>
  Effect.gen(function*() {
    const turns = Effect.replicateEffect(yield* turnOf(contender), perSample)
    const trips = yield* roundTrips(turns)
    const calls = yield* Effect.option(systemCalls(turns))
    const row = (name: string, samples: ReadonlyArray<number>): Measured => alone({ name, unit: "calls", samples })
    return [
      row(`calls in the thread pool: ${mode}`, [Math.round(trips / perSample)]),
      calls._tag === "Some"
        ? row(`system calls: ${mode}`, [Math.round(calls.value / perSample)])
        : row(`system calls: ${mode} (not counted, needs strace)`, [0])
    ]
  })

export const locking: Program.Experiment = (runs) =>
  Effect.gen(function*() {
    const timed = yield* Effect.forEach(figures, ([name, baseline, subject, mode, aim]) =>
      measure({
        runs,
        baseline: { name, sample: lockAndUnlock(baseline) },
        subject: { name: `LockFile, ${mode}`, sample: lockAndUnlock(subject) },
        rows: [{
          name: `lock and unlock: ${mode}`,
          unit: "ms",
          read: Program.itself,
          compare: "ratio",
          ...(aim === undefined ? {} : { aim })
        }]
      }))
    return [...timed.flat(), ...(yield* Effect.forEach(counts, counted)).flat()]
  })
