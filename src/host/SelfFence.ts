/**
 * The clock and the fence of a real process that leads: elapsed time that counts a suspended machine, and a thread that kills the
 * process when it must have stopped.
 *
 * The thread compares every 50 milliseconds, and is independent of the event loop. So it also kills a process whose event loop is
 * blocked, and a process that continues after SIGSTOP or after the machine was suspended.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { uptime } from "node:os"
import { Worker } from "node:worker_threads"
import { ElapsedTime } from "./ElapsedTime.ts"
import { HostPlatform } from "./HostPlatform.ts"
import { FenceFailed, ProcessFence } from "./ProcessFence.ts"

/** One reading of both clocks. */
export interface Readings {
  /** The monotonic clock in nanoseconds. It can stand still while the machine is suspended. */
  readonly monotonic: bigint
  /** The time since boot in seconds, which counts a suspended machine. `undefined` where that time follows the wall clock. */
  readonly uptime: number | undefined
}

/** The time since boot has two decimals on Linux. Where /proc is missing, libuv reports whole seconds. */
const rounding = ({ uptime = 0.5 }: Readings): number => Number.isInteger(uptime) ? 1_000_000_000 : 20_000_000

/**
 * The time between two readings in nanoseconds: the larger of both clocks. The time since boot is rounded, so it counts only by as
 * much as it is certain. Otherwise a candidate could wait too short. Pure.
 */
export const elapsedBetween = (since: Readings, now: Readings): bigint => {
  const monotonic = now.monotonic - since.monotonic
  if (since.uptime === undefined || now.uptime === undefined) return monotonic
  const sinceBoot = BigInt(
    Math.floor((now.uptime - since.uptime) * 1e9) - Math.max(rounding(since), rounding(now))
  )
  return sinceBoot > monotonic ? sinceBoot : monotonic
}

/** On macOS, the time since boot is computed from the wall clock, so a step of that clock would change it. */
const countsSuspend = (platform: string): boolean => platform !== "darwin"

const read = (platform: string): Readings => ({
  monotonic: process.hrtime.bigint(),
  uptime: countsSuspend(platform) ? uptime() : undefined
})

/** How often a leader compares its clock with its deadline. A sleep does not count the time of a suspended machine. */
export const checkEvery = Duration.millis(100)

/**
 * The program of the thread. `moments` has the reading of each clock at which the process must be dead, or zeros.
 *
 * SIGKILL does not end the first process of a PID namespace, such as a container, if it comes from within (pid_namespaces(7)). A trap
 * of the processor does.
 */
const thread = [
  "const { parentPort, workerData } = require(\"node:worker_threads\")",
  "const { uptime } = require(\"node:os\")",
  "const { countsSuspend, memory } = workerData",
  "const monotonic = new BigInt64Array(memory, 0, 1)",
  "const sinceBoot = new Float64Array(memory, 8, 1)",
  "const pause = new Int32Array(new SharedArrayBuffer(4))",
  "parentPort.postMessage(\"started\")",
  "for (;;) {",
  "  const at = Atomics.load(monotonic, 0)",
  "  if (at !== 0n && (process.hrtime.bigint() >= at || (countsSuspend && uptime() >= sinceBoot[0]))) {",
  "    process.kill(process.pid, \"SIGKILL\")",
  "    if (process.pid === 1) {",
  "      Atomics.wait(pause, 0, 0, 50)",
  "      require(\"node:v8\").setFlagsFromString(\"--allow-natives-syntax\")",
  "      require(\"node:vm\").runInThisContext(\"%SystemBreak()\")",
  "    }",
  "  }",
  "  Atomics.wait(pause, 0, 0, 50)",
  "}"
].join("\n")

/** Starts the thread. Succeeds once it runs. */
const startThread = (memory: SharedArrayBuffer, platform: string): Effect.Effect<Worker, FenceFailed> =>
  Effect.async<Worker, FenceFailed>((resume) => {
    const failed = (cause: unknown) =>
      resume(new FenceFailed({ reason: `cannot start the thread that ends a leader: ${String(cause)}`, cause }))
    try {
      const worker = new Worker(thread, {
        eval: true,
        // Options such as --inspect or --require of this process are not for the thread.
        execArgv: [],
        env: {},
        workerData: { memory, countsSuspend: countsSuspend(platform) }
      })
      worker.unref()
      worker.once("error", failed)
      worker.once("message", () => resume(Effect.succeed(worker)))
    } catch (cause) {
      failed(cause)
    }
  })

/** Provides elapsed time and the fence of this process. */
export const layer: Layer.Layer<never> = Layer.effectContext(
  Effect.gen(function*() {
    const platform = yield* HostPlatform
    const since = read(platform)
    const time = ElapsedTime.of({
      now: Effect.sync(() => elapsedBetween(since, read(platform))),
      checkEvery: Option.some(checkEvery)
    })
    const fence = ProcessFence.of({
      make: Effect.gen(function*() {
        const memory = new SharedArrayBuffer(16)
        const monotonic = new BigInt64Array(memory, 0, 1)
        const sinceBoot = new Float64Array(memory, 8, 1)
        yield* Effect.acquireRelease(
          startThread(memory, platform),
          (worker) => Effect.promise(() => worker.terminate())
        )
        return {
          killAt: (moment) =>
            Effect.sync(() => {
              // First, so that the thread never sees an old time since boot with a new moment.
              sinceBoot[0] = (since.uptime ?? 0) + (Number(moment) + rounding(since)) / 1e9
              Atomics.store(monotonic, 0, since.monotonic + moment)
            }),
          disarm: Effect.sync(() => {
            Atomics.store(monotonic, 0, 0n)
          })
        }
      })
    })
    return Context.make(ElapsedTime, time).pipe(Context.add(ProcessFence, fence))
  })
)
