/**
 * What has befallen a gateway since its start: how far it came, and what happened to its lock.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Changing from "../internal/changing.ts"

export type { Current } from "../internal/changing.ts"

/**
 * What can happen.
 *
 * - `starting`, `listening`, `draining`: the record's phases.
 * - `locked`: both lock files became ours, without a predecessor; `reclaimed`: one had left them.
 * - `regained`: a lock file that had been removed or replaced is ours again; `rewritten`: its record had been overwritten.
 * - `unavailable`: a lock file that was lost could not be had again yet; `lost`: nor will it be.
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
  "lost"
)

/**
 * @since 0.1.0
 * @category models
 */
export type Kind = typeof Kind.Type

/**
 * One thing that happened.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway, type LockFile } from "gateway-lock"
 *
 * // What somebody does to the lock files of a running gateway.
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
 * The same as JSON: times in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateChangeEncoded extends Schema.Struct.Encoded<typeof fields> {}

const fields = {
  /** By the wall clock. */
  at: Schema.DateTimeUtc,
  kind: Kind,
  /** What the log says of it, where it says more. */
  detail: Schema.optionalWith(Schema.String, { exact: true })
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const StateChange: Schema.Schema<StateChange, StateChangeEncoded> = Schema.Struct(fields)

/**
 * So many changes are kept, the last ones.
 *
 * @internal
 */
export const size = 50

/**
 * What has happened, and how something is added to it.
 *
 * @since 0.1.0
 * @category models
 */
export interface History {
  /** Oldest first. */
  readonly changes: Effect.Effect<Changing.Current<ReadonlyArray<StateChange>>>
  /** Adds a change, at the present time of the wall clock; the oldest goes where there are `size` already. */
  readonly note: (kind: Kind, detail?: string) => Effect.Effect<void>
}

/**
 * A history that begins with `starting`, at the time given.
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
