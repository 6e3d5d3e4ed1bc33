/**
 * The times of a lease, and the relations between them. Pure.
 *
 * A leader measures all times from the moment at which it sent a statement. A candidate measures them from the moment at which it
 * received an answer. So the delay of the network makes a leader stop earlier and a candidate wait longer, never the reverse.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import { short } from "../internal/durationText.ts"
import { formatDuration } from "../internal/formatDuration.ts"
import * as LeaseFacts from "./LeaseFacts.ts"

/**
 * The times of a lease. The options have the names of the settings below `lease` in the config file. Times can have any form of
 * `Duration.DurationInput`. A number is in milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface LeaseTimesOptions {
  /** How long a candidate must see an unchanged lease before it may take the lease over. Default 15 seconds. */
  readonly duration?: Duration.DurationInput | undefined
  /** The time from one renewal to the next, and from one look of a candidate to the next. Default 3 seconds. */
  readonly renewInterval?: Duration.DurationInput | undefined
  /** How long one attempt may wait for the answer of the store. Default 2 seconds. */
  readonly attemptTimeout?: Duration.DurationInput | undefined
  /** A leader stops this long after it sent its last successful renewal. Default 10 seconds. */
  readonly renewDeadline?: Duration.DurationInput | undefined
  /** How long the work of a leader may take to stop after the lease was lost. Default 4 seconds. */
  readonly stopTimeout?: Duration.DurationInput | undefined
}

/**
 * `LeaseTimesOptions`, with defaults for the options that are left out.
 *
 * @since 0.1.0
 * @category models
 */
export type LeaseTimes = { readonly [name in keyof LeaseTimesOptions]-?: Duration.Duration }

/**
 * The values that apply if an option is left out.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults: LeaseTimes = LeaseFacts.defaults

/**
 * By how many percent the clock of a candidate may run faster than the clock of a leader.
 *
 * @since 0.1.0
 * @category constants
 */
export const clockDriftPercent = 1

/**
 * How late a timer of a leader may run.
 *
 * @since 0.1.0
 * @category constants
 */
export const schedulingDelay: Duration.Duration = Duration.millis(300)

const names = ["duration", "renewInterval", "attemptTimeout", "renewDeadline", "stopTimeout"] as const

/** The time by which the work of a leader has stopped, measured from the sending of its last successful renewal. */
const stoppedAfter = ({ renewDeadline, stopTimeout }: LeaseTimes): Duration.Duration =>
  Duration.sum(Duration.sum(renewDeadline, stopTimeout), schedulingDelay)

/** The time for which a candidate waits at least, measured by the clock of the leader. */
const waitedAtLeast = ({ duration }: LeaseTimes): Duration.Duration =>
  Duration.millis(Math.floor(Duration.toMillis(duration) * (100 - clockDriftPercent)) / 100)

/** The time of a renewal that succeeds after one renewal that was not answered. */
const retriedWithin = ({ attemptTimeout, renewInterval }: LeaseTimes): Duration.Duration =>
  Duration.sum(renewInterval, Duration.times(attemptTimeout, 2))

/**
 * The problems of these times, a line for each: what is wrong, the numbers, and what is allowed. No line: the times are valid.
 *
 * @since 0.1.0
 * @category checks
 */
export const problems = (times: LeaseTimes): ReadonlyArray<string> => {
  const wrong = names.filter((name) => !Duration.isFinite(times[name]) || Duration.toMillis(times[name]) < 1)
  if (wrong.length > 0) {
    return wrong.map((name) => `lease.${name} is ${formatDuration(times[name])}: expected a time of at least 1ms`)
  }
  const { attemptTimeout, duration, renewDeadline, renewInterval, stopTimeout } = times
  const [stopped, waited, retried] = [stoppedAfter(times), waitedAtLeast(times), retriedWithin(times)]
  return [
    ...(Duration.greaterThan(stopped, waited)
      ? [
        `lease.renewDeadline + lease.stopTimeout + ${short(schedulingDelay)} is ${short(renewDeadline)} + ${
          short(stopTimeout)
        } + ${short(schedulingDelay)} = ${short(stopped)}: expected at most ${
          100 - clockDriftPercent
        } % of lease.duration (${short(duration)}), which is ${short(waited)}`
      ]
      : []),
    ...(Duration.greaterThan(retried, renewDeadline)
      ? [
        `lease.renewInterval + 2 * lease.attemptTimeout is ${short(renewInterval)} + 2 * ${short(attemptTimeout)} = ${
          short(retried)
        }: expected at most lease.renewDeadline (${short(renewDeadline)})`
      ]
      : [])
  ]
}

/**
 * Adds the defaults to options. Left if the times do not fit together: the problems, a line for each.
 *
 * @example
 * import { Either } from "effect"
 * import { Leadership } from "gateway-lock"
 *
 * const times = Leadership.LeaseTimes.fromOptions({ duration: "10 seconds" })
 * // Left: the default deadline of 10 seconds leaves no time to stop before another host may lead.
 * const lines = Either.match(times, { onLeft: (problems) => problems, onRight: () => [] })
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromOptions = (options: LeaseTimesOptions = {}): Either.Either<LeaseTimes, ReadonlyArray<string>> => {
  const of = (name: keyof LeaseTimes) => Duration.decode(options[name] ?? defaults[name])
  const times: LeaseTimes = {
    duration: of("duration"),
    renewInterval: of("renewInterval"),
    attemptTimeout: of("attemptTimeout"),
    renewDeadline: of("renewDeadline"),
    stopTimeout: of("stopTimeout")
  }
  const found = problems(times)
  return found.length > 0 ? Either.left(found) : Either.right(times)
}

/**
 * The longest time from the crash of a leader until a candidate on another host leads, if the store answers. The candidate sees the
 * last renewal at its next look. Then it waits for the whole lease, and needs one attempt to acquire it.
 *
 * @since 0.1.0
 * @category bounds
 */
export const takeoverBound = ({ attemptTimeout, duration, renewInterval }: LeaseTimes): Duration.Duration =>
  Duration.sum(Duration.sum(duration, renewInterval), attemptTimeout)
