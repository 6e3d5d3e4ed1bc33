/**
 * Limits how long a finalizer waits for an effect.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Option from "effect/Option"

/**
 * Runs an effect for at most `duration`, and returns `None` if it did not finish in that time. This also works in an
 * uninterruptible region such as a finalizer, where `Effect.timeoutOption` alone cannot end the wait.
 *
 * The effect runs in a daemon fiber, not in a child fiber. A fiber that is interrupted interrupts its child fibers at once, even
 * while it is uninterruptible itself (Effect 3.22.4; `processNewInterruptSignal` in internal/fiberRuntime.ts). With a child
 * fiber, such an interruption would end the wait early.
 */
export const atMost =
  (duration: Duration.Duration) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<Option.Option<A>, E, R> =>
    Effect.flatMap(
      Effect.forkDaemon(Effect.interruptible(Effect.timeoutOption(self, duration))),
      (running) => Effect.onInterrupt(Effect.flatten(Fiber.await(running)), () => Fiber.interruptFork(running))
    )
