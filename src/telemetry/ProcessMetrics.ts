/**
 * What the operating system and Node say of this process, under the names that every Prometheus client library uses.
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
 * One look at a process. What a platform does not tell is absent.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessFigures {
  /** Since the process started. */
  readonly uptime: Duration.Duration
  /** Of the processor, in user and in system mode together. */
  readonly cpu: Duration.Duration
  /** Bytes. */
  readonly residentMemory: number
  /** Bytes. */
  readonly heapTotal: number
  /** Bytes. */
  readonly heapUsed: number
  /** Bytes. */
  readonly externalMemory: number
  /** File descriptors that are open. */
  readonly openFiles: Option.Option<number>
  /** File descriptors that may be open: the soft limit (getrlimit(2)). */
  readonly maxFiles: Option.Option<number>
}

/**
 * The figures of this process, in the registry. They are as old as the last `refresh`.
 *
 * @since 0.1.0
 * @category tags
 */
export class ProcessMetrics extends Context.Tag("gateway-lock/ProcessMetrics")<ProcessMetrics, {
  /** Brings the figures of this process up to date in the registry. */
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
  "How long the event loop took to come to a task that was due at once"
)

/**
 * From figures that are asked for at each look, and an effect that lasts as long as the event loop is behind.
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

/** The soft limit, as `/proc/self/limits` has it; none where it is unlimited. */
const parseMaxFiles = (limits: string): Option.Option<number> => {
  const match = /^Max open files\s+(\d+)/m.exec(limits)
  return Option.map(Option.fromNullable(match?.[1]), Number)
}

/**
 * This process, by Node and, for its descriptors, by `/proc` (proc(5)).
 *
 * @example
 * import { NodeContext } from "@effect/platform-node"
 * import { Effect, Schedule } from "effect"
 * import { Telemetry } from "gateway-lock"
 *
 * // For an exporter that reads the registry by itself; PrometheusMetrics.app asks at each scrape.
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
        // The folder itself is open while it is read.
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
