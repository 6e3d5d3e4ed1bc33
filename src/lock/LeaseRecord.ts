/**
 * What the owner record says of the lease of its owner. The owner writes it at each renewal, so that `gateway status` knows it even if
 * the owner serves no HTTP or is stopped.
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { optional } from "../internal/optional.ts"

/**
 * The lease by which an owner leads, or waits to lead, the gateways of several hosts.
 *
 * @since 0.1.0
 * @category models
 */
export interface LeaseRecord extends Schema.Struct.Type<ReturnType<typeof fields>> {}

const fields = () => ({
  /** The name of the lease. */
  name: Schema.String,
  /** The address of the store, without credentials. Absent until the owner has opened the store. */
  store: optional(Schema.String),
  /** `standby`: waits to lead. `leader`: leads. `lost`: has lost its leadership and ends. */
  state: Schema.Literal("standby", "leader", "lost"),
  /** The fencing token of the leadership, as a decimal number. */
  fencingToken: optional(Schema.String),
  /** When the last renewal that succeeded was sent, by the owner's wall clock. ISO 8601, in UTC. */
  renewedAt: optional(Schema.String),
  /** When the owner stops leading unless it renews before. ISO 8601, in UTC. */
  trustedUntil: optional(Schema.String)
})

/**
 * The schema is made at its first use, so that a start without a lease does not spend time on it.
 *
 * @since 0.1.0
 * @category schemas
 */
export const LeaseRecord: Schema.Schema<LeaseRecord> = Schema.suspend(() => Schema.Struct(fields()))

const names: Readonly<Record<keyof LeaseRecord, true>> = {
  name: true,
  store: true,
  state: true,
  fencingToken: true,
  renewedAt: true,
  trustedUntil: true
}

/** The keys of a lease in a record. */
export const keys: ReadonlyArray<string> = Object.keys(names)

/** Reads a lease. A lease that this version does not understand is ignored, and the rest of the record is still used. */
export const parse = (lease: unknown): { readonly lease?: LeaseRecord } =>
  lease === undefined
    ? {}
    : Either.match(Schema.decodeUnknownEither(LeaseRecord)(lease), {
      onLeft: () => ({}),
      onRight: (lease) => ({ lease })
    })
