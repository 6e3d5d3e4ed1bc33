/**
 * Checks by which an app takes part in `/readyz`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import { atMost } from "../internal/atMost.ts"

/**
 * How a check of `/readyz` is run.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadinessOptions {
  /** How long one run of the check may take before it counts as failed. Default 1 second, as long as Kubernetes waits. */
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category constants
 */
export const defaultTimeout = Duration.seconds(1)

/** What `/readyz` says for reasons of the gateway's own. */
const reserved: ReadonlySet<string> = new Set(["draining", "leadership", "lock", "starting"])

/**
 * What a check may be called, in words.
 *
 * @since 0.1.0
 * @category constants
 */
export const allowedName = "1 to 64 printable ASCII characters, but not draining, leadership, lock or starting"

/**
 * Whether a check may be called so.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isAllowedName = (name: string): boolean => /^[ -~]{1,64}$/.test(name) && !reserved.has(name)

type Outcome = Exit.Exit<boolean, unknown>

/**
 * Whether a check passes now. It passes if it succeeds within its time with anything but `false`. However many clients ask, it
 * runs once at a time, and those that come while it runs get its result; a run that does not end, not even when it is interrupted,
 * is not joined by a second one. Whenever the result changes, one line is logged.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E, R>(
  name: string,
  check: Effect.Effect<unknown, E, R>,
  options: ReadinessOptions = {}
): Effect.Effect<Effect.Effect<boolean>, never, R> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<R>()
    const timeout = Duration.decode(options.timeout ?? defaultTimeout)
    const running = yield* Ref.make(Option.none<Fiber.Fiber<boolean, unknown>>())
    const turn = yield* Effect.makeSemaphore(1)
    const passed = yield* Ref.make(true)

    const start = Effect.gen(function*() {
      const fiber = yield* check.pipe(
        Effect.map((result) => result !== false),
        Effect.provide(context),
        Effect.interruptible,
        // In no asker's fiber: one that goes away takes nothing from the others.
        Effect.forkDaemon
      )
      yield* Ref.set(running, Option.some(fiber))
      return fiber
      // A run that nobody remembers would be joined by a second one.
    }).pipe(Effect.uninterruptible)
    const current = turn.withPermits(1)(Effect.gen(function*() {
      const before = yield* Ref.get(running)
      if (Option.isSome(before) && Option.isNone(yield* Fiber.poll(before.value))) return before.value
      return yield* start
    }))
    const report = (outcome: Option.Option<Outcome>, passes: boolean) =>
      passes
        ? Effect.logInfo(`readiness check "${name}" passes again`)
        : Effect.logWarning(
          `readiness check "${name}" fails: ${
            Option.match(outcome, {
              onNone: () => `no result after ${Duration.format(timeout)}`,
              onSome: Exit.match({
                onFailure: (cause) => Cause.pretty(cause),
                onSuccess: () => "its result is false"
              })
            })
          }`
        )
    return Effect.gen(function*() {
      const fiber = yield* current
      const outcome = yield* atMost(timeout)(Fiber.await(fiber))
      if (Option.isNone(outcome)) yield* Fiber.interruptFork(fiber)
      const passes = Option.exists(outcome, (exit) => Exit.isSuccess(exit) && exit.value)
      const before = yield* Ref.getAndSet(passed, passes)
      if (before !== passes) yield* report(outcome, passes)
      return passes
    })
  })
