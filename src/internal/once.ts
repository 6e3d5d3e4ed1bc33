/**
 * What happens once, however many ask for it.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"

/**
 * An effect that runs `self` the first time, and every other time waits for the end of that run.
 *
 * Not `Effect.cached`: it hands the fiber references of the fiber that ran on to those that wait, its interruption included.
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
