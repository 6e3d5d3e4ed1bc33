/**
 * Bounded waits in finalizers.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Option from "effect/Option"

/**
 * Runs an effect no longer than `duration`; `None` if that was not enough. Also where nothing is interruptible, as in a
 * finalizer: a timeout alone cannot end a wait there.
 *
 * In a fiber that is no child: a fiber that is interrupted passes the interruption on to its children at once, even while it is
 * uninterruptible itself, and the wait would end early.
 */
export const atMost =
  (duration: Duration.Duration) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<Option.Option<A>, E, R> =>
    Effect.flatMap(
      Effect.forkDaemon(Effect.interruptible(Effect.timeoutOption(self, duration))),
      (running) => Effect.onInterrupt(Effect.flatten(Fiber.await(running)), () => Fiber.interruptFork(running))
    )
