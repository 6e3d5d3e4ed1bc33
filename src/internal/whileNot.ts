/**
 * Runs an effect for as long as something does not fail.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { keepInterruption } from "./keepInterruption.ts"

/**
 * Runs `self`, and interrupts it when `failure` fails; ends when `self` has ended, with whichever failed first.
 *
 * Not `Effect.raceFirst`: a fiber that is interrupted while it waits for a race goes on to its own finalizers, while the two that
 * race are still busy with theirs.
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
