/**
 * Lets an app shorten a drain, in which a gateway that shuts down waits for its open connections.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import { unending } from "../internal/unending.ts"

/**
 * An effect that the app provides. When it completes, a drain stops waiting and cuts the remaining connections. In the program
 * `gateway`, a second stop signal completes the effect. By default the effect never completes.
 *
 * @example
 * import { Deferred, Effect, Layer } from "effect"
 * import { Gateway, Server } from "gateway-lock"
 *
 * // SIGUSR2 cuts a drain: the gateway no longer waits for requests in flight.
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
  defaultValue: (): Effect.Effect<void> => unending
}) {}
