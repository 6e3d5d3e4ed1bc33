/**
 * Reports how an acquisition of the gateway's locks ended: as a log line, as metrics and on the current span.
 */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type { LockHeld, LockUnavailable, PortInUse } from "../GatewayLockError.ts"
import { inWholeSeconds } from "../internal/formatDuration.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import * as StartMetrics from "../telemetry/startMetrics.ts"
import type { Reclaimed } from "./LockWait.ts"

/**
 * The metric label for each reason to reclaim a lock, that is, to take over a lock file that a dead owner left.
 */
const reclaimLabels = {
  "its kernel lock is free": "kernel_lock_free",
  "names this process": "names_this_process",
  "no readable owner": "no_readable_owner",
  "owner gone": "owner_gone",
  "port free": "port_free"
} as const satisfies Record<Reclaimed["reason"], Metrics.LockReclaimReason>

/** The log line for a lock file that was taken over from a dead owner. */
export const describeReclaim = (reclaimed: Reclaimed): string =>
  `reclaimed gateway lock ${reclaimed.path} left by ${
    Option.match(reclaimed.record, {
      onNone: () => "an owner without a readable record",
      onSome: ({ createdAt, pid }) =>
        `pid ${pid}${Option.match(createdAt, { onNone: () => "", onSome: (at) => ` since ${DateTime.formatIso(at)}` })}`
    })
  }, last touched ${inWholeSeconds(reclaimed.age)} ${
    reclaimed.isAhead === true ? "ahead of this clock" : "ago"
  }: ${reclaimed.reason}`

type AcquireError = PortInUse | LockHeld | LockUnavailable

const verdictLabels = {
  PortInUse: "port_in_use",
  LockHeld: "lock_held",
  LockUnavailable: "lock_unavailable"
} as const satisfies Record<AcquireError["_tag"], Metrics.LockVerdict>

const verdictOf = (cause: Cause.Cause<AcquireError>): Metrics.LockVerdict =>
  Option.match(Cause.failureOption(cause), {
    onSome: (error) => verdictLabels[error._tag],
    onNone: () => Cause.isInterruptedOnly(cause) ? "interrupted" : "defect"
  })

const holderPid = (cause: Cause.Cause<AcquireError>): number | undefined =>
  Option.getOrUndefined(
    Option.flatMapNullable(
      Cause.failureOption(cause),
      (error) => error._tag === "LockUnavailable" ? undefined : error.holder?.pid
    )
  )

/** Records how an acquisition ended, as metrics and on the current span. */
export const recordAcquire = (exit: Exit.Exit<unknown, AcquireError>, seconds: number): Effect.Effect<void> => {
  const verdict = Exit.match(exit, { onSuccess: () => "acquired" as const, onFailure: verdictOf })
  const pid = Exit.match(exit, { onSuccess: () => undefined, onFailure: holderPid })
  return Effect.all([
    Metric.increment(Metric.tagged(StartMetrics.lockAcquireTotal, "verdict", verdict)),
    Metric.update(StartMetrics.lockAcquireSeconds, seconds),
    Effect.annotateCurrentSpan({
      "gateway.lock.verdict": verdict,
      ...(pid === undefined ? {} : { "gateway.lock.holder.pid": pid })
    })
  ], { discard: true })
}

/** Records why a lock file that a dead owner left was taken over, as a metric and on the current span. */
export const recordReclaim = ({ reason }: Reclaimed): Effect.Effect<void> =>
  Effect.zipRight(
    Metric.increment(Metric.tagged(Metrics.lockReclaimTotal, "reason", reclaimLabels[reason])),
    Effect.annotateCurrentSpan("gateway.lock.reclaim.reason", reclaimLabels[reason])
  )
