/**
 * The metrics of a gateway in Effect's metric registry. They measure the lock, the health probes, the connections and the drain
 * (the time in which a stopping gateway lets its open connections end).
 *
 * Each metric is recorded by the code that does the measured work. An exporter, such as `PrometheusMetrics`, reads the
 * registry. Names and units follow Prometheus: durations are in seconds, and a counter's name ends in `_total`. Durations
 * are measured with `Clock`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as MetricLabel from "effect/MetricLabel"
import type * as Scope from "effect/Scope"
import { durations, lockAcquireSeconds, lockAcquireTotal, probeSeconds } from "./startMetrics.ts"

export { lockAcquireSeconds, lockAcquireTotal, probeSeconds }
/** @internal */
export { timed } from "./startMetrics.ts"

/**
 * The label of metrics that a rehearsal of a takeover has changed. They are not exported.
 *
 * @internal
 */
export const rehearsalLabel = "gateway_rehearsal"

const counter = (name: string, description: string) => Metric.counter(name, { description, incremental: true })
const gauge = (name: string, description: string) => Metric.gauge(name, { description })

/**
 * The number of gateways in this process that hold their locks. In a process with one gateway, the value is 1 while the
 * gateway holds its locks, and 0 once they are lost or released.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockHeld = gauge("gateway_lock_held", "Gateways in this process that hold their locks")

/**
 * The number of lock files that are held without a kernel lock, because no kernel lock is available for these files. Only the
 * owner's record (the JSON text in such a file) shows that the file is held. The normal value is 0.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockRecordOnly = gauge(
  "gateway_lock_record_only",
  "Held lock files without a kernel lock, which only their record enforces"
)

/**
 * The number of starts of this process that wait for another gateway to end.
 *
 * The label `for` says why the start waits:
 *
 * - `lock`: another gateway holds the lock.
 * - `owner`: the start runs under a supervisor, and the owner of the lock or port is unhealthy.
 * - `standby`: the start is a standby, which takes over when the owner ends.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockWaiters = gauge("gateway_lock_waiters", "Starts of this process that wait for another gateway to end")

/**
 * The result of a start's attempt to acquire the locks.
 *
 * @since 0.1.0
 * @category models
 */
export type LockVerdict = typeof verdicts[number]

const verdicts = ["acquired", "port_in_use", "lock_held", "lock_unavailable", "interrupted", "defect"] as const

/**
 * Why a start reclaimed a lock file that its former owner had left behind. With kernel locks the reason is `kernel_lock_free`.
 * Without kernel locks the module `Staleness` decides, and the reason is one of the other values.
 *
 * @since 0.1.0
 * @category models
 */
export type LockReclaimReason = typeof reclaimReasons[number]

const reclaimReasons = [
  "kernel_lock_free",
  "owner_gone",
  "names_this_process",
  "no_readable_owner",
  "port_free"
] as const

/**
 * Counts starts that reclaimed lock files because the former owner had ended without removing them, for example after a crash. A
 * start acquires two lock files, but adds at most 1. The label `reason` is a `LockReclaimReason`.
 *
 * @example
 * import { Effect, Metric } from "effect"
 * import { Telemetry } from "gateway-lock"
 *
 * // Whether this start took over from an owner that was killed.
 * const succeeded = Telemetry.Metrics.lockReclaimTotal.pipe(
 *   Metric.tagged("reason", "kernel_lock_free"),
 *   Metric.value,
 *   Effect.map(({ count }) => count > 0)
 * )
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockReclaimTotal = counter(
  "gateway_lock_reclaim_total",
  "Locks reclaimed from an owner that did not release them"
)

/**
 * Counts locks that were lost while they were held. A gateway that loses its lock shuts down.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockLostTotal = counter("gateway_lock_lost_total", "Locks that were lost while they were held")

/**
 * What the holder found when it checked its lock file.
 *
 * - `kept`: the path still names the holder's file.
 * - `regained`: the file was removed or replaced, and the holder acquired it again.
 * - `taken`: another process holds the file.
 * - `failed`: the file was removed or replaced, and the holder could not acquire it again yet.
 * - `unseen`: the file could not be checked.
 *
 * @since 0.1.0
 * @category models
 */
export type LockRecheckResult = typeof recheckResults[number]

const recheckResults = ["kept", "regained", "taken", "failed", "unseen"] as const

/**
 * Counts the checks of held lock files. The label `result` is a `LockRecheckResult`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockRecheckTotal = counter("gateway_lock_recheck_total", "Checks of held lock files, by result")

/**
 * What a health probe found: the cases of `Health`, as values of a label.
 *
 * @since 0.1.0
 * @category models
 */
export type ProbeResult = typeof probeResults[number]

const probeResults = ["no_listener", "healthy", "unhealthy", "foreign", "stalled"] as const

/**
 * The number of open connections.
 *
 * @since 0.1.0
 * @category metrics
 */
export const connections = gauge("gateway_connections", "Connections that are open now")

/**
 * How many connections may be open at the same time.
 *
 * @since 0.1.0
 * @category metrics
 */
export const connectionsLimit = gauge("gateway_connections_limit", "Connections that may be open at one time")

/**
 * How long a drain took, in seconds. A drain is the time in which a stopping gateway lets its open connections end.
 *
 * A draining gateway accepts no new connections, so a scraper cannot read this metric. Only an exporter that pushes metrics, such
 * as OTLP, reports this metric.
 *
 * @since 0.1.0
 * @category metrics
 */
export const drainSeconds = Metric.histogram("gateway_drain_seconds", durations, "How long a drain took")

/**
 * Counts connections that a stopping gateway cut at the end of its drain, because these connections did not end in time.
 *
 * @since 0.1.0
 * @category metrics
 */
export const drainCutTotal = counter("gateway_drain_cut_total", "Connections that a drain cut")

/**
 * Describes the running gateway with the labels `version`, `profile` and `instance_id`. The value is 1 while the gateway runs.
 *
 * @since 0.1.0
 * @category metrics
 */
export const info = gauge("gateway_info", "The running gateway: always 1, with its properties as labels")

/**
 * Adds the metrics of this module to the registry, at zero, except `lockWaiters` and `info`. Otherwise a counter would first
 * appear with the value 1, and Prometheus would see no increase from 0 to 1.
 *
 * @internal
 */
export const register: Effect.Effect<void> = Effect.map(Effect.metricLabels, (labels) => {
  for (const plain of [lockHeld, lockRecordOnly, connections, connectionsLimit]) plain.unsafeModify(0, labels)
  for (const plain of [lockLostTotal, drainCutTotal]) plain.unsafeUpdate(0, labels)
  for (const plain of [lockAcquireSeconds, drainSeconds]) plain.unsafeValue(labels)
  const series: ReadonlyArray<readonly [Metric.Metric.Counter<number>, string, ReadonlyArray<string>]> = [
    [lockAcquireTotal, "verdict", verdicts],
    [lockReclaimTotal, "reason", reclaimReasons],
    [lockRecheckTotal, "result", recheckResults]
  ]
  for (const [metric, key, values] of series) {
    for (const value of values) Metric.tagged(metric, key, value).unsafeUpdate(0, labels)
  }
  for (const result of probeResults) Metric.tagged(probeSeconds, "result", result).unsafeValue(labels)
})

/**
 * Sets `info` to 1 with these labels until the scope closes, and then to 0.
 *
 * @internal
 */
export const announce = (labels: {
  readonly version: string
  readonly profile: string
  readonly instance_id: string
}): Effect.Effect<void, never, Scope.Scope> => {
  const announced = Metric.taggedWithLabels(
    info,
    Object.entries(labels).map(([key, value]) => MetricLabel.make(key, value))
  )
  return Effect.acquireRelease(Metric.set(announced, 1), () => Metric.set(announced, 0))
}

/**
 * Adds 1 to a gauge while an effect runs.
 *
 * @internal
 */
export const during = (metric: Metric.Metric.Gauge<number>) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(Metric.modify(metric, 1), () => self, () => Metric.modify(metric, -1))
