/**
 * Runs an effect once for any number of callers.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"

/**
 * Returns an effect that runs `self` on its first use. Every later use waits for the end of that run.
 *
 * `Effect.cached` (Effect 3.22.4; `memoize` in internal/core-effect.ts) is not suitable, because it copies the fiber references
 * of the running fiber to the waiting fibers. An interruption of the running fiber is in a fiber reference, so the waiting fibers
 * would get that interruption too.
 */
export const once = <R>(self: Effect.Effect<unknown, never, R>): Effect.Effect<Effect.Effect<void, never, R>> =>
  Effect.map(
    Effect.all([Ref.make(false), Deferred.make<void>()]),
    ([begun, ended]) =>
      Effect.if(Ref.getAndSet(begun, true), {
        onTrue: () => Deferred.await(ended),
        onFalse: () => Effect.asVoid(Effect.ensuring(self, Deferred.succeed(ended, undefined)))
      }).pipe(Effect.uninterruptible)
  )
