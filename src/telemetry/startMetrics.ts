/**
 * The metrics that a refused start records. To make a metric, Effect hashes its name and description character by character, so a
 * refused start makes no others.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"

/** Bucket bounds in seconds: from a millisecond to five minutes, which is the longest default timeout. */
export const durations = MetricBoundaries.fromIterable([
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

/**
 * How long a start took to acquire the locks or to be refused, in seconds.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockAcquireSeconds = Metric.histogram(
  "gateway_lock_acquire_seconds",
  durations,
  "Time to acquire the locks, or to be refused"
)

/**
 * Counts attempts to acquire the locks. The label `verdict` is a `LockVerdict`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockAcquireTotal = Metric.counter("gateway_lock_acquire_total", {
  description: "Attempts to acquire the locks, by result",
  incremental: true
})

/**
 * How long a health probe took, in seconds. The label `result` is a `ProbeResult`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const probeSeconds = Metric.histogram(
  "gateway_probe_seconds",
  durations,
  "Duration of a health probe, by result"
)

/**
 * Runs an effect, and passes its exit and its duration in seconds to `record`. The effect's result does not change.
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
