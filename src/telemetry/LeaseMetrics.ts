/**
 * The metrics of a gateway that leads several hosts by a lease, or waits to lead them. They are in Effect's metric registry, as those of
 * `Metrics`. A gateway without a lease does not have them.
 *
 * @example
 * import { Effect, Metric } from "effect"
 * import { Telemetry } from "gateway-lock"
 *
 * // Whether this process leads, for a log line of an app.
 * const isLeader = Effect.map(Metric.value(Telemetry.LeaseMetrics.leader), ({ value }) => value > 0)
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"

/**
 * Whether this process leads: 1, or 0 while it waits to lead and after a loss.
 *
 * @since 0.1.0
 * @category metrics
 */
export const leader = Metric.gauge("gateway_leader", {
  description: "Gateways in this process that lead the gateways of all hosts"
})

/**
 * The fencing token of this leader. 0 while the process does not lead. The token only grows from one leader to the next.
 *
 * @since 0.1.0
 * @category metrics
 */
export const fencingToken = Metric.gauge("gateway_leader_fencing_token", {
  description: "The fencing token of this leader, or 0",
  bigint: true
})

/**
 * How long the store took to answer a renewal, in seconds. The label `result` is `renewed` or `failed`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const renewSeconds = Metric.histogram(
  "gateway_lease_renew_seconds",
  MetricBoundaries.fromIterable([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]),
  "How long the store took to answer a renewal of the lease"
)

/**
 * Counts lost leaderships. The label `reason` says why:
 *
 * - `expired`: the lease was not renewed in time.
 * - `taken`: another process has the lease, or it was deleted or released.
 * - `resigned`: the leader was asked to hand over.
 * - `lock`: the leader lost its host lock.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lostTotal = Metric.counter("gateway_leadership_lost_total", {
  description: "Leaderships that this process lost, by reason",
  incremental: true
})

/**
 * Why a leadership was lost.
 *
 * @since 0.1.0
 * @category models
 */
export type LostReason = typeof lostReasons[number]

const lostReasons = ["expired", "taken", "resigned", "lock"] as const

/**
 * Adds the metrics to the registry, at zero, so that Prometheus sees the increase from 0 to 1.
 *
 * @internal
 */
export const register: Effect.Effect<void> = Effect.map(Effect.metricLabels, (labels) => {
  leader.unsafeModify(0, labels)
  fencingToken.unsafeUpdate(0n, labels)
  for (const reason of lostReasons) Metric.tagged(lostTotal, "reason", reason).unsafeUpdate(0, labels)
  for (const result of ["renewed", "failed"]) Metric.tagged(renewSeconds, "result", result).unsafeValue(labels)
})
