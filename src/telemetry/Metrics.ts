/**
 * What a gateway counts and measures, in Effect's own metric registry: lock, probe, connections, drain.
 *
 * Each is recorded where it happens; an exporter reads the registry (`PrometheusMetrics`, or any other). Names and units are
 * those of Prometheus: seconds, `_total` for what only grows. Durations are from `Clock`.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricLabel from "effect/MetricLabel"
import type * as Scope from "effect/Scope"

/** Seconds: from a start on an idle machine to the longest patience that a setting has by default. */
const durations = MetricBoundaries.fromIterable([
  0.001,
  0.0025,
  0.005,
  0.01,
  0.025,
  0.05,
  0.1,
  0.25,
  0.5,
  1,
  2.5,
  5,
  10,
  30,
  60,
  300
])

const counter = (name: string, description: string) => Metric.counter(name, { description, incremental: true })
const gauge = (name: string, description: string) => Metric.gauge(name, { description })

/**
 * Gateways in this process that hold their locks: 1 in a gateway's own process, 0 once its lock is lost or released.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockHeld = gauge("gateway_lock_held", "Gateways in this process that hold their locks")

/**
 * Lock files held by their record alone, since no kernel lock can be had there. 0 is as it should be.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockRecordOnly = gauge(
  "gateway_lock_record_only",
  "Lock files that are held by their record alone, without a kernel lock"
)

/**
 * Starts of this process that wait, labelled `for`: `lock`, `owner` (under a supervisor, an unhealthy one) or `standby`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockWaiters = gauge("gateway_lock_waiters", "Starts of this process that wait for another gateway to end")

/**
 * How long it took to get the locks, or to be refused. Seconds.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockAcquireSeconds = Metric.histogram(
  "gateway_lock_acquire_seconds",
  durations,
  "How long it took to get the locks, or to be refused"
)

/**
 * How a start's attempt to get the locks ended.
 *
 * @since 0.1.0
 * @category models
 */
export type LockVerdict = typeof verdicts[number]

const verdicts = ["acquired", "port_in_use", "lock_held", "lock_unavailable", "interrupted", "defect"] as const

/**
 * Attempts to get the locks, labelled `verdict`: a `LockVerdict`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockAcquireTotal = counter("gateway_lock_acquire_total", "Attempts to get the locks, by how they ended")

/**
 * Why a lock was taken from an owner that had left it: `kernel_lock_free`, and without kernel locks the reasons of
 * `Staleness`.
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
 * Locks taken from an owner that did not remove them (killed, crashed, cut off), labelled `reason`: a
 * `LockReclaimReason`. Once for a start.
 *
 * @example
 * import { Effect, Metric } from "effect"
 * import { Telemetry } from "gateway-lock"
 *
 * // Did this start succeed one that was killed?
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
  "Locks taken from an owner that had left them behind"
)

/**
 * Locks lost while they were held; the gateway shuts down then.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockLostTotal = counter("gateway_lock_lost_total", "Locks that were lost while they were held")

/**
 * What a look at a held lock file found: `kept`, `regained` (it was removed or replaced, and is ours again), `taken`
 * (another process has it), `failed` (it could not be made ours again yet), `unseen` (it could not be looked at).
 *
 * @since 0.1.0
 * @category models
 */
export type LockRecheckResult = typeof recheckResults[number]

const recheckResults = ["kept", "regained", "taken", "failed", "unseen"] as const

/**
 * Looks at held lock files, labelled `result`: a `LockRecheckResult`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockRecheckTotal = counter("gateway_lock_recheck_total", "Looks at held lock files, by what was found")

/**
 * What a health probe found: `Health`, in the words of a label.
 *
 * @since 0.1.0
 * @category models
 */
export type ProbeResult = typeof probeResults[number]

const probeResults = ["no_listener", "healthy", "unhealthy", "foreign", "stalled"] as const

/**
 * How long a health probe took, labelled `result`: a `ProbeResult`. Seconds.
 *
 * @since 0.1.0
 * @category metrics
 */
export const probeSeconds = Metric.histogram(
  "gateway_probe_seconds",
  durations,
  "How long a health probe took, by what it found"
)

/**
 * Connections open now.
 *
 * @since 0.1.0
 * @category metrics
 */
export const connections = gauge("gateway_connections", "Connections that are open now")

/**
 * How many connections may be open at one time.
 *
 * @since 0.1.0
 * @category metrics
 */
export const connectionsLimit = gauge("gateway_connections_limit", "Connections that may be open at one time")

/**
 * How long a drain took. Seconds. Nobody new is accepted meanwhile: only what is pushed, such as OTLP, tells of it.
 *
 * @since 0.1.0
 * @category metrics
 */
export const drainSeconds = Metric.histogram("gateway_drain_seconds", durations, "How long a drain took")

/**
 * Connections that a drain cut, since they did not end in time.
 *
 * @since 0.1.0
 * @category metrics
 */
export const drainCutTotal = counter("gateway_drain_cut_total", "Connections that a drain cut")

/**
 * 1, labelled `version`, `profile` and `instance_id`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const info = gauge("gateway_info", "The running gateway: always 1, what it says is in its labels")

/**
 * Makes every metric of this module appear, at zero: a counter that appears with its first event has no increase that could
 * be seen.
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
 * Shows a running gateway in `info` until the scope closes; 0 from then on.
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
 * Records how a thing ended and how many seconds it took. Does not change it.
 *
 * @internal
 */
export const timed =
  <B, F>(record: (exit: Exit.Exit<B, F>, seconds: number) => Effect.Effect<unknown>) =>
  <A extends B, E extends F, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(
      Clock.currentTimeNanos,
      (began) =>
        Effect.onExit(self, (exit) =>
          Effect.flatMap(Clock.currentTimeNanos, (now) => record(exit, Number(now - began) / 1e9)))
    )

/**
 * Holds a gauge one higher for as long as something lasts.
 *
 * @internal
 */
export const during = (metric: Metric.Metric.Gauge<number>) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(Metric.modify(metric, 1), () => self, () => Metric.modify(metric, -1))
