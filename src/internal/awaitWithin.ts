/**
 * Bounded waits for what may hang.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Option from "effect/Option"

/**
 * Waits for a fiber, no longer than `duration`; `None` if it has not ended by then. Also in a finalizer, where a timeout alone
 * cannot end a wait because nothing there is interruptible.
 */
export const awaitWithin =
  (duration: Duration.Duration) => <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<Option.Option<Exit.Exit<A, E>>> =>
    Fiber.await(fiber).pipe(Effect.interruptible, Effect.timeoutOption(duration))
