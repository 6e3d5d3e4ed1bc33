/**
 * The store of a lease: the operations that each engine offers.
 *
 * A store only compares and sets. It never decides whether a leader is dead, and compares no wall clock. The candidate decides by
 * its own clock, and the store grants the lease only if nothing has changed since the candidate's look.
 *
 * @example
 * import { Effect, Layer, Metric } from "effect"
 * import { Leadership } from "gateway-lock"
 *
 * const renewals = Metric.counter("renewals")
 *
 * // Counts the renewals of another store.
 * const Counted = Layer.effect(
 *   Leadership.LeaseStore.LeaseStore,
 *   Effect.map(Leadership.LeaseStore.LeaseStore, (store) => ({
 *     ...store,
 *     renew: (grant: Leadership.LeaseStore.Grant) => Effect.zipRight(Metric.increment(renewals), store.renew(grant))
 *   }))
 * )
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { optional } from "../internal/optional.ts"
import { printable } from "../internal/printable.ts"

/**
 * An operation failed: the store is down or in recovery, the connection broke, or no answer came in time.
 *
 * The failure does not tell whether the operation took effect. It may also take effect later. So a failed renewal is retried, a
 * failed release may have released the lease, and a failed acquisition may have acquired it.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreFailed extends Schema.TaggedError<StoreFailed>("gateway-lock/StoreFailed")("StoreFailed", {
  reason: Schema.String,
  cause: optional(Schema.Defect)
}) {
  override get message() {
    return printable(this.reason)
  }
}

/**
 * The store refuses to be used in this way, for example because a right is missing. Another attempt does not help.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreRefused extends Schema.TaggedError<StoreRefused>("gateway-lock/StoreRefused")("StoreRefused", {
  reason: Schema.String,
  cause: optional(Schema.Defect)
}) {
  override get message() {
    return printable(this.reason)
  }
}

/**
 * Any error of a store.
 *
 * @since 0.1.0
 * @category errors
 */
export type StoreError = StoreFailed | StoreRefused

/**
 * What the holder of a lease says about itself, as JSON. A store keeps it and does not read it.
 *
 * @since 0.1.0
 * @category models
 */
export type LeaseHolder = Readonly<Record<string, unknown>>

/**
 * A lease as one look shows it. All values come from one statement.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sighting {
  /** The id of the attempt that acquired the lease. `None`: the lease was released. */
  readonly holderId: Option.Option<string>
  /** The token of the last grant. It stays after a release. */
  readonly fencingToken: bigint
  /** The number of renewals. */
  readonly renewals: bigint
  /** How long a candidate must see this lease unchanged before it may take the lease over. */
  readonly ttl: Duration.Duration
  /** The present epoch of the store, which a failover changes. The upper bits of a token are the epoch of its grant. */
  readonly epoch: bigint
  readonly holder: LeaseHolder
}

/**
 * One attempt to acquire a lease.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claim {
  /** The name of the lease. */
  readonly name: string
  /** A new id for each attempt, so that an attempt whose answer was lost is recognised. */
  readonly holderId: string
  /** The `ttl` of the lease from now on. */
  readonly ttl: Duration.Duration
  readonly holder: LeaseHolder
}

/**
 * A lease that was granted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Grant {
  readonly name: string
  readonly holderId: string
  readonly fencingToken: bigint
}

/**
 * The answer to a renewal.
 *
 * - `Renewed`: the lease still belonged to the grant.
 * - `Resign`: it did, and another process asks the leader to hand over.
 * - `Lost`: the lease belongs to another attempt, was released, or is gone.
 *
 * @since 0.1.0
 * @category models
 */
export type Renewal = "Renewed" | "Resign" | "Lost"

/**
 * The operations of a store. Each is one statement. An interruption or a time-out of the caller must not wait for the statement.
 *
 * @since 0.1.0
 * @category services
 */
export class LeaseStore extends Context.Tag("gateway-lock/LeaseStore")<LeaseStore, {
  /** The address of the store, without credentials, for messages. */
  readonly location: string
  /** Reads the lease. `None`: there is no lease with this name yet. Fails with `StoreFailed` on a server in recovery. */
  readonly look: (name: string) => Effect.Effect<Option.Option<Sighting>, StoreError>
  /**
   * Creates the lease, unless it exists. The new lease looks held by the claim's attempt, but is granted to nobody. So every
   * candidate waits for its `ttl`: the lease may have existed before, and its leader may still run.
   */
  readonly create: (claim: Claim) => Effect.Effect<void, StoreError>
  /**
   * Acquires the lease, if it still equals the sighting in every field, and grants a token higher than all before. `None`: it has
   * changed. Must be durable before it is answered.
   */
  readonly acquire: (seen: Sighting, claim: Claim) => Effect.Effect<Option.Option<Grant>, StoreError>
  /** Counts one renewal, if the lease still belongs to the grant. */
  readonly renew: (grant: Grant) => Effect.Effect<Renewal, StoreError>
  /** Releases the lease, if it still belongs to the grant. */
  readonly release: (grant: Grant) => Effect.Effect<void, StoreError>
  /** Asks the leader with this token to hand over. `false`: no leader has this token. */
  readonly requestResign: (name: string, fencingToken: bigint) => Effect.Effect<boolean, StoreError>
  /**
   * Completes when the lease may have been released. Only a hint, so that a candidate looks earlier. A store without hints never
   * completes it.
   */
  readonly changed: (name: string) => Effect.Effect<void>
}>() {}
