/**
 * What a candidate and a leader share: the store, the times, and how one statement is sent.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { LeadershipLost } from "../GatewayLockError.ts"
import { LeaseUnavailable } from "../GatewayLockError.ts"
import { atMost } from "../internal/atMost.ts"
import { short } from "../internal/durationText.ts"
import {
  type Grant,
  type LeaseHolder,
  type LeaseStore,
  type Sighting,
  type StoreError,
  StoreFailed
} from "./LeaseStore.ts"
import type { LeaseTimes } from "./LeaseTimes.ts"
import type { Term } from "./Term.ts"

/**
 * The state of a candidate or leader. Moments are nanoseconds of the process's own clock.
 *
 * @since 0.1.0
 * @category models
 */
export type LeadershipState =
  /** Waits to lead. `seen` is the last look, and `None` before the first one. */
  | { readonly _tag: "Candidate"; readonly seen: Option.Option<Sighting> }
  /** Leads, and stops at `trustedUntil` unless it renews before. */
  | {
    readonly _tag: "Leader"
    readonly fencingToken: bigint
    readonly renewedAt: bigint
    readonly trustedUntil: bigint
  }
  /** Must not act any more. */
  | { readonly _tag: "Lost"; readonly error: LeadershipLost }
  /** Its work has ended, and the lease is released. */
  | { readonly _tag: "Released" }

/** One process that takes part in the election of a leader. */
export interface Election {
  readonly store: LeaseStore["Type"]
  readonly name: string
  readonly holder: LeaseHolder
  readonly times: LeaseTimes
  readonly now: Effect.Effect<bigint>
  readonly report: (state: LeadershipState) => Effect.Effect<void>
}

export const stateOf = ({ grant, renewedAt, trustedUntil }: Term): LeadershipState => ({
  _tag: "Leader",
  fencingToken: grant.fencingToken,
  renewedAt,
  trustedUntil
})

export const unavailable = ({ name, store }: Election, reason: string, cause?: unknown): LeaseUnavailable =>
  new LeaseUnavailable({
    lease: name,
    store: store.location,
    reason,
    ...(cause === undefined ? {} : { cause })
  })

const noAnswer = ({ times }: Election): StoreFailed =>
  new StoreFailed({ reason: `no answer within ${short(times.attemptTimeout)}` })

/**
 * Sends one statement, and fails if no answer comes within the attempt timeout. Neither the time-out nor an interruption waits for
 * the statement to end: cancelling a statement can take seconds.
 */
export const attempt = <A>(election: Election, statement: Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> =>
  Effect.timeoutFail(Effect.disconnect(statement), {
    duration: election.times.attemptTimeout,
    onTimeout: () => noAnswer(election)
  })

/** Does the same in an uninterruptible region, where `Effect.timeoutFail` cannot end the wait. */
export const attemptUninterruptibly = <A>(
  election: Election,
  statement: Effect.Effect<A, StoreError>
): Effect.Effect<A, StoreError> =>
  Effect.disconnect(statement).pipe(
    atMost(election.times.attemptTimeout),
    Effect.flatMap((answer) => answer._tag === "None" ? noAnswer(election) : Effect.succeed(answer.value))
  )

/** Releases a grant, for at most the attempt timeout. If that fails, candidates wait for the duration of the lease. */
export const release = (election: Election, grant: Grant): Effect.Effect<boolean> =>
  attemptUninterruptibly(election, election.store.release(grant)).pipe(
    Effect.as(true),
    Effect.catchAll((error) =>
      Effect.as(
        Effect.logWarning(`could not release lease ${election.name} at ${election.store.location}: ${error.message}`),
        false
      )
    )
  )

/** Sleeps until a moment, or until the store hints at a change. */
export const sleepUntil = ({ name, now, store }: Election, moment: bigint): Effect.Effect<void> =>
  Effect.flatMap(now, (time) =>
    moment <= time
      ? Effect.void
      : Effect.asVoid(
        Effect.timeoutOption(Effect.disconnect(store.changed(name)), Duration.nanos(moment - time))
      ))

/** Sleeps by the process's `Clock`, whatever the store hints at. */
export const sleep = (nanos: bigint): Effect.Effect<void> => Clock.sleep(Duration.nanos(nanos))
