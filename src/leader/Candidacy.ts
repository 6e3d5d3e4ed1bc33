/**
 * When a candidate may acquire a lease. Pure.
 *
 * All moments are nanoseconds of the candidate's own clock. The candidate measures how long the lease has stayed unchanged, from
 * the receipt of the first look that showed it so.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as FencingToken from "./FencingToken.ts"
import type { Sighting } from "./LeaseStore.ts"

/** What a candidate has seen, and since when it has seen nothing else. */
export interface Watch {
  readonly sighting: Sighting
  /** When the answer of the first look with this sighting was received. */
  readonly since: bigint
}

/** Whether two looks show the same lease. The holder's own description does not count, because it changes with each grant only. */
export const isSame = (one: Sighting, other: Sighting): boolean =>
  Option.getOrUndefined(one.holderId) === Option.getOrUndefined(other.holderId)
  && one.fencingToken === other.fencingToken
  && one.renewals === other.renewals
  && one.epoch === other.epoch
  && Duration.equals(one.ttl, other.ttl)

/** Adds a look to what the candidate has seen before. Any change starts the wait again. */
export const observe = (before: Option.Option<Watch>, sighting: Sighting, receivedAt: bigint): Watch =>
  Option.match(before, {
    onNone: () => ({ sighting, since: receivedAt }),
    onSome: (watch) => isSame(watch.sighting, sighting) ? watch : { sighting, since: receivedAt }
  })

/**
 * Whether the lease was released in the present epoch of the store. A lease that was released in an earlier epoch may have been
 * granted again since: a failover may have lost that grant, and its leader does not know yet.
 */
export const isReleased = ({ epoch, fencingToken, holderId }: Sighting): boolean =>
  Option.isNone(holderId) && FencingToken.epochOf(fencingToken) === epoch

/**
 * The moment from which the candidate may acquire the lease. `isHolderDead`: the former holder is proved dead (`DeathProof.ts`).
 */
export const mayAcquireAt = ({ sighting, since }: Watch, isHolderDead: boolean): bigint =>
  isReleased(sighting) || isHolderDead ? since : since + Duration.unsafeToNanos(sighting.ttl)
