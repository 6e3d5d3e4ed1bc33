/**
 * Computes a result once and keeps it.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"

/**
 * Returns an effect that runs `self` on first use. Later uses get the same result or failure. A use during the run waits for the
 * end of the run. If a run is interrupted, the next use runs `self` again.
 *
 * `Effect.cached` (Effect 3.22.4; `memoize` in internal/core-effect.ts) is not suitable. If its first use is interrupted, every
 * later use gets that interruption as its result.
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
