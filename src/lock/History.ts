/**
 * The history of a gateway since its start: its phases, and what happened to its lock files.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Changing from "../internal/changing.ts"
import type { Kind, StateChange } from "./StateChange.ts"

export type { Current } from "../internal/changing.ts"
export { Kind, StateChange, type StateChangeEncoded } from "./StateChange.ts"

/**
 * The number of changes that are kept. Older ones are dropped.
 *
 * @internal
 */
export const size = 50

/**
 * The changes so far, and a function that adds one.
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
