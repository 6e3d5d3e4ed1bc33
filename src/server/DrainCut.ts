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
 * @example
 * import { Deferred, Effect, Layer } from "effect"
 * import { Gateway, Server } from "gateway-lock"
 *
 * // SIGUSR2 cuts a drain: what is still in flight is not waited for.
 * const Cut = Layer.effect(
 *   Server.DrainCut.DrainCut,
 *   Effect.gen(function*() {
 *     const cut = yield* Deferred.make<void>()
 *     process.once("SIGUSR2", () => Deferred.unsafeDone(cut, Effect.void))
 *     return Deferred.await(cut)
 *   })
 * )
 * const Main = Gateway.layer({ drainTimeout: "1 minute" }).pipe(Layer.provide(Cut))
 *
 * @since 0.1.0
 * @category references
 */
export class DrainCut extends Context.Reference<DrainCut>()("gateway-lock/DrainCut", {
  defaultValue: (): Effect.Effect<void> => Effect.never
}) {}
