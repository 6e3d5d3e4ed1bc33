/**
 * Metrics of this process from the operating system and Node, under the names that Prometheus client libraries use.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"

/**
 * The figures of a process at one moment. A figure that the platform does not provide is `None`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessFigures {
  /** The time since the process started. */
  readonly uptime: Duration.Duration
  /** CPU time that the process has used, in user and system mode together. */
  readonly cpu: Duration.Duration
  /** The resident memory, in bytes. */
  readonly residentMemory: number
  /** The size of the JavaScript heap, in bytes. */
  readonly heapTotal: number
  /** The used part of the JavaScript heap, in bytes. */
  readonly heapUsed: number
  /** The memory of objects outside the JavaScript heap, in bytes. */
  readonly externalMemory: number
  /** The number of open file descriptors. */
  readonly openFiles: Option.Option<number>
  /** How many file descriptors may be open: the soft limit `RLIMIT_NOFILE` (getrlimit(2)). */
  readonly maxFiles: Option.Option<number>
}

/**
 * Writes the figures of this process to Effect's metric registry. The registry shows the values of the last `refresh`.
 *
 * @since 0.1.0
 * @category tags
 */
export class ProcessMetrics extends Context.Tag("gateway-lock/ProcessMetrics")<ProcessMetrics, {
  /** Reads the current figures and writes them to the registry. */
  readonly refresh: Effect.Effect<void>
}>() {}

const gauge = (name: string, description: string) => Metric.gauge(name, { description })

const startTime = gauge("process_start_time_seconds", "Start of the process, in seconds since the epoch")
const cpu = Metric.counter("process_cpu_seconds_total", {
  description: "Seconds of CPU that the process has used, in user and in system mode",
  incremental: true
})
const residentMemory = gauge("process_resident_memory_bytes", "Resident memory")
const openFiles = gauge("process_open_fds", "Open file descriptors")
const maxFiles = gauge("process_max_fds", "File descriptors that may be open")
const heapTotal = gauge("nodejs_heap_size_total_bytes", "Size of the JavaScript heap")
const heapUsed = gauge("nodejs_heap_size_used_bytes", "Used part of the JavaScript heap")
const externalMemory = gauge("nodejs_external_memory_bytes", "Memory of objects outside the JavaScript heap")
const eventLoopLag = gauge(
  "nodejs_eventloop_lag_seconds",
  "Delay until the event loop ran a task that was due at once"
)

/**
 * Makes the service from two effects, which each `refresh` runs. `figures` reads the figures of the process. `turn` completes at
 * the next turn of the event loop, so the duration of `turn` is the event loop's lag.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  figures: Effect.Effect<ProcessFigures>,
  turn: Effect.Effect<void>
): ProcessMetrics["Type"] =>
  ProcessMetrics.of({
    refresh: Effect.gen(function*() {
      const [lag] = yield* Effect.timed(turn)
      const now = yield* Clock.currentTimeMillis
      const process = yield* figures
      const before = yield* Metric.value(cpu)
      yield* Metric.set(startTime, Math.round(now / 1000 - Duration.toSeconds(process.uptime)))
      yield* Metric.incrementBy(cpu, Math.max(0, Duration.toSeconds(process.cpu) - before.count))
      yield* Metric.set(residentMemory, process.residentMemory)
      yield* Metric.set(heapTotal, process.heapTotal)
      yield* Metric.set(heapUsed, process.heapUsed)
      yield* Metric.set(externalMemory, process.externalMemory)
      yield* Metric.set(eventLoopLag, toSeconds(lag))
      if (Option.isSome(process.openFiles)) yield* Metric.set(openFiles, process.openFiles.value)
      if (Option.isSome(process.maxFiles)) yield* Metric.set(maxFiles, process.maxFiles.value)
    })
  })

const toSeconds = (duration: Duration.Duration): number => Duration.toMillis(duration) / 1000

/** Reads the soft limit of open files from the text of `/proc/self/limits`. `None` if there is no limit (`unlimited`). */
const parseMaxFiles = (limits: string): Option.Option<number> => {
  const match = /^Max open files\s+(\d+)/m.exec(limits)
  return Option.map(Option.fromNullable(match?.[1]), Number)
}

/**
 * Measures this process. Memory, CPU time and uptime come from Node, and file descriptors from `/proc` (proc(5)).
 *
 * @example
 * import { NodeContext } from "@effect/platform-node"
 * import { Effect, Schedule } from "effect"
 * import { Telemetry } from "gateway-lock"
 *
 * // An exporter that reads the registry itself needs this. PrometheusMetrics.app does not: it refreshes at each scrape.
 * const refreshing = Effect.gen(function*() {
 *   const { refresh } = yield* Telemetry.ProcessMetrics.ProcessMetrics
 *   yield* Effect.repeat(refresh, Schedule.spaced("15 seconds"))
 * }).pipe(Effect.provide(Telemetry.ProcessMetrics.layerLive), Effect.provide(NodeContext.layer))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<ProcessMetrics, never, FileSystem.FileSystem> = Layer.effect(
  ProcessMetrics,
  Effect.map(FileSystem.FileSystem, (fs) =>
    make(
      Effect.gen(function*() {
        // Reading the folder opens one descriptor, which is in the list of entries. The `- 1` removes it from the count.
        const openFiles = yield* Effect.option(
          Effect.map(fs.readDirectory("/proc/self/fd"), ({ length }) => length - 1)
        )
        const limits = yield* Effect.option(fs.readFileString("/proc/self/limits"))
        const memory = process.memoryUsage()
        const { system, user } = process.cpuUsage()
        return {
          uptime: Duration.seconds(process.uptime()),
          cpu: Duration.micros(BigInt(user + system)),
          residentMemory: memory.rss,
          heapTotal: memory.heapTotal,
          heapUsed: memory.heapUsed,
          externalMemory: memory.external,
          openFiles,
          maxFiles: Option.flatMap(limits, parseMaxFiles)
        }
      }),
      Effect.async<void>((resume) => {
        const turn = setImmediate(() => resume(Effect.void))
        return Effect.sync(() => clearImmediate(turn))
      })
    ))
)
