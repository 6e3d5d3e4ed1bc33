/**
 * The history of a gateway since its start: its phases, and what happened to its lock files.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Changing from "../internal/changing.ts"

export type { Current } from "../internal/changing.ts"

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
 * @example
 * import { Effect } from "effect"
 * import { Gateway, type LockFile } from "gateway-lock"
 *
 * // Kinds that show that another program changed the lock files of a running gateway.
 * const disturbances: ReadonlyArray<LockFile.History.Kind> = ["regained", "rewritten", "unavailable"]
 *
 * const disturbed = Gateway.Gateway.pipe(
 *   Effect.flatMap(({ history }) => history),
 *   Effect.map((changes) => changes.filter(({ kind }) => disturbances.includes(kind)))
 * )
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

/**
 * The number of changes that are kept. Older ones are dropped.
 *
 * @internal
 */
export const size = 50

/**
 * The changes so far, and a function that adds one.
 *
 * @since 0.1.0
 * @category models
 */
export interface History {
  /** The changes, oldest first. */
  readonly changes: Effect.Effect<Changing.Current<ReadonlyArray<StateChange>>>
  /**
   * Adds a change with the current time of the wall clock. If there are `size` changes already, the oldest one is
   * dropped.
   */
  readonly note: (kind: Kind, detail?: string) => Effect.Effect<void>
}

/**
 * A history whose first change is `starting`, at `startedAt`.
 *
 * @internal
 */
export const make = (startedAt: DateTime.Utc): Effect.Effect<History> =>
  Effect.map(Changing.make<ReadonlyArray<StateChange>>([{ at: startedAt, kind: "starting" }]), (entries) => ({
    changes: entries.current,
    note: (kind, detail) =>
      Effect.flatMap(DateTime.now, (now) => {
        const change = { at: now, kind, ...(detail === undefined ? {} : { detail }) }
        return entries.update((before) => [...before, change].slice(-size))
      })
  }))
