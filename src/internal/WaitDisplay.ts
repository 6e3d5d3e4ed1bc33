/**
 * Shows a person that the program waits. The program `gateway` shows one line on its terminal. An app shows nothing.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"

/** What to show about a wait. */
export interface Wait {
  /** What is waited for, read again each time that it is shown. An empty text is not shown. */
  readonly text: Effect.Effect<string>
  /** How long the wait can last. */
  readonly limit?: Duration.Duration | undefined
  /** Whether a second stop signal ends the wait. */
  readonly isCuttable?: boolean | undefined
  /** Whether another program writes to the same terminal meanwhile. */
  readonly isShared?: boolean | undefined
}

/** Runs an effect, and shows the wait meanwhile. */
export type Display = (wait: Wait) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** How waits are shown. By default they are not shown. */
export class WaitDisplay extends Context.Reference<WaitDisplay>()("gateway-lock/WaitDisplay", {
  defaultValue: (): Display => () => (self) => self
}) {}

/** Shows a wait while an effect runs. */
export const shown = (wait: Wait) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(WaitDisplay, (display) => display(wait)(self))

/**
 * A wait whose description comes from a callback. `report` sets the description, and `during` shows it until the effect ends. Nothing
 * is shown before the first report.
 */
export const reported: Effect.Effect<{
  readonly report: (text: string) => Effect.Effect<void>
  readonly during: (
    wait?: Omit<Wait, "text">
  ) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}> = Effect.map(Ref.make(""), (text) => ({
  report: (status: string) => Ref.set(text, status),
  during: (wait = {}) => shown({ ...wait, text: Ref.get(text) })
}))
