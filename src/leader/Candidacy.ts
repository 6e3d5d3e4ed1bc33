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
 * Whether the lease was granted in the present epoch of the store. A failover may have lost a later grant otherwise, and its leader
 * does not know yet.
 */
const isOfPresentEpoch = ({ epoch, fencingToken }: Sighting): boolean => FencingToken.epochOf(fencingToken) === epoch

/**
 * The moment from which the candidate may acquire the lease: at once if the last grant has ended for certain, because it was released
 * or because its holder is proved dead (`DeathProof.ts`). `isHolderDead`: such a proof exists.
 */
export const mayAcquireAt = ({ sighting, since }: Watch, isHolderDead: boolean): bigint =>
  isOfPresentEpoch(sighting) && (Option.isNone(sighting.holderId) || isHolderDead)
    ? since
    : since + Duration.unsafeToNanos(sighting.ttl)
