/**
 * How long a leader may trust its lease. Pure.
 *
 * All moments are nanoseconds of the leader's own clock. A leader trusts its lease until `renewDeadline` after it *sent* the last
 * renewal that was answered in time. From that moment on it neither sends a renewal nor accepts the answer to one, whichever timer
 * or callback runs first after a pause. A renewal that succeeds later proves nothing: another host may have led meanwhile, and a
 * failover may have lost that grant.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Grant } from "./LeaseStore.ts"
import type { LeaseTimes } from "./LeaseTimes.ts"

/** One time of leading, from a grant to its loss or release. */
export interface Term {
  readonly grant: Grant
  /** When the last successful statement was sent. */
  readonly renewedAt: bigint
  /** The leader must not act from this moment on. */
  readonly trustedUntil: bigint
}

/** A statement and its answer, at the moments when they were sent and received. */
export interface Exchange {
  readonly sentAt: bigint
  readonly receivedAt: bigint
}

const deadlineOf = ({ renewDeadline }: LeaseTimes, sentAt: bigint): bigint =>
  sentAt + Duration.unsafeToNanos(renewDeadline)

/** Whether the leader may act at this moment. */
export const isTrusted = ({ trustedUntil }: Pick<Term, "trustedUntil">, now: bigint): boolean => now < trustedUntil

/** The term of a grant. `None` if its answer came too late: then the grant is to be released. */
export const begin = (times: LeaseTimes, grant: Grant, { receivedAt, sentAt }: Exchange): Option.Option<Term> => {
  const term: Term = { grant, renewedAt: sentAt, trustedUntil: deadlineOf(times, sentAt) }
  return isTrusted(term, receivedAt) ? Option.some(term) : Option.none()
}

/** The term after a successful renewal. `None` if it was sent or answered after the deadline: then leadership is lost. */
export const renew = (times: LeaseTimes, term: Term, { receivedAt, sentAt }: Exchange): Option.Option<Term> =>
  isTrusted(term, sentAt) && isTrusted(term, receivedAt)
    ? Option.some({ ...term, renewedAt: sentAt, trustedUntil: deadlineOf(times, sentAt) })
    : Option.none()

/**
 * When to send the next renewal. After a failed one, the next follows as soon as the failed one would have timed out. So a store
 * that refuses connections is not asked without a pause.
 */
export const nextRenewalAt = (
  { attemptTimeout, renewInterval }: LeaseTimes,
  term: Term,
  lastSentAt: bigint
): bigint =>
  lastSentAt === term.renewedAt
    ? lastSentAt + Duration.unsafeToNanos(renewInterval)
    : lastSentAt + Duration.unsafeToNanos(attemptTimeout)

/** By when everything that the leader does must have ended, if it loses its lease at `lostAt`. */
export const cutAt = ({ stopTimeout }: LeaseTimes, { trustedUntil }: Term, lostAt: bigint): bigint =>
  (lostAt < trustedUntil ? lostAt : trustedUntil) + Duration.unsafeToNanos(stopTimeout)
