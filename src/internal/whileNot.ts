/**
 * Runs an effect until it ends, or until another effect fails.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { keepInterruption } from "./keepInterruption.ts"

/**
 * Runs `self`, and interrupts it if `failure` fails. The returned effect ends after `self` has ended, including finalizers of
 * `self`. Its result is the result of `self`, or the error of `failure` if `failure` failed first.
 *
 * `Effect.raceFirst` (Effect 3.22.4; internal/effect/circular.ts) is not suitable. If the fiber that waits for the race is
 * interrupted, that fiber runs its own finalizers too early: the finalizers of the two racing fibers are still running.
 */
export const whileNot =
  <E2>(failure: Effect.Effect<never, E2>) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | E2, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        yield* keepInterruption
        const done = yield* Deferred.make<A, E | E2>()
        const running = yield* Effect.fork(Effect.intoDeferred(restore(Effect.zipRight(keepInterruption, self)), done))
        const failing = yield* Effect.fork(Effect.intoDeferred(restore(failure), done))
        return yield* restore(Deferred.await(done)).pipe(
          Effect.ensuring(Effect.zipRight(Fiber.interrupt(running), Fiber.interrupt(failing)))
        )
      })
    )
