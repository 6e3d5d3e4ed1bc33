/**
 * A change of a gateway's phase or of its lock files, and its schema. A refused start needs no schema, so it is apart from `History`.
 */
import * as Schema from "effect/Schema"

/**
 * The kinds of change of a gateway's phase or of its lock files.
 *
 * - `starting`, `listening`, `draining`: the gateway entered this phase.
 * - `locked`: the gateway acquired both lock files, and no earlier owner had left them.
 * - `reclaimed`: the gateway acquired lock files that an earlier owner had left.
 * - `regained`: a lock file was removed or replaced, and the gateway acquired it again.
 * - `rewritten`: another program overwrote the record in a lock file, and the gateway wrote it again.
 * - `unavailable`: a lock file was lost, and the gateway could not acquire it again yet.
 * - `lost`: the gateway lost the lock permanently.
 * - `standby`, `leading`, `leadership-lost`: with a lease, the gateway waits to lead, leads, or has lost its leadership.
 *
 * @since 0.1.0
 * @category models
 */
export const Kind = Schema.Literal(
  "starting",
  "locked",
  "reclaimed",
  "listening",
  "draining",
  "regained",
  "rewritten",
  "unavailable",
  "lost",
  "standby",
  "leading",
  "leadership-lost"
)

/**
 * A kind of change.
 *
 * @since 0.1.0
 * @category models
 */
export type Kind = typeof Kind.Type

/**
 * A change of a gateway's phase or of its lock files.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateChange extends Schema.Struct.Type<typeof fields> {}

/**
 * A `StateChange` as JSON. Times are in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateChangeEncoded extends Schema.Struct.Encoded<typeof fields> {}

const fields = {
  /** When the change happened, by the wall clock. */
  at: Schema.DateTimeUtc,
  kind: Kind,
  /** The log message of the change, if it has one. */
  detail: Schema.optionalWith(Schema.String, { exact: true })
}

/**
 * The schema of `StateChange`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const StateChange: Schema.Schema<StateChange, StateChangeEncoded> = Schema.Struct(fields)
