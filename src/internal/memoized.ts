/**
 * A result that is computed once and kept.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"

/**
 * An effect whose first use runs `self`, and whose later uses get the same result or failure. A use that comes while `self` runs
 * waits for it. A run that was interrupted does not count: the next use runs `self` again.
 *
 * Not `Effect.cached` (Effect 3.22.4): if its first user is interrupted, every later user gets that interruption as the result.
 */
export const memoized = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<Effect.Effect<A, E, R>> =>
  Effect.map(
    Effect.all([Ref.make(Option.none<Exit.Exit<A, E>>()), Effect.makeSemaphore(1)]),
    ([result, turn]) => {
      const orElse = (ask: Effect.Effect<A, E, R>) =>
        Effect.flatMap(
          Ref.get(result),
          Option.match({
            onNone: () => ask,
            onSome: Exit.match({ onFailure: Effect.failCause, onSuccess: Effect.succeed })
          })
        )
      const run = Effect.onExit(
        self,
        (exit) => Exit.isInterrupted(exit) ? Effect.void : Ref.set(result, Option.some(exit))
      )
      return orElse(turn.withPermits(1)(orElse(run)))
    }
  )
