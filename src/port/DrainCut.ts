/**
 * How a drain is cut short.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/**
 * Completes when a drain should be cut short: a second signal, in the shipped program. Never, by default.
 *
 * @since 0.1.0
 * @category references
 */
export class DrainCut extends Context.Reference<DrainCut>()("gateway-lock/DrainCut", {
  defaultValue: (): Effect.Effect<void> => Effect.never
}) {}
