/**
 * A result that is computed once, however many ask for it.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"

/**
 * An effect that runs `self` the first time, and answers with that run's result or failure from then on. Who asks meanwhile waits.
 * A run that was interrupted does not count: whoever asks next runs `self` again.
 *
 * Not `Effect.cached` (3.22.4): there the interruption of whoever asks first is everyone's answer for ever.
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
