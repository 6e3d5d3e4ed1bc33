/**
 * The checks that an app adds to `/readyz`, the route that says whether the gateway is ready for requests.
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
import { formatDuration } from "../internal/formatDuration.ts"

/**
 * Options of a readiness check.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadinessOptions {
  /**
   * A run of the check that takes longer than this counts as failed. Default 1 second, which is also the default of a Kubernetes
   * probe.
   */
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * The timeout of a check if the option `timeout` is left out.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultTimeout = Duration.seconds(1)

/**
 * The names that a check of an app cannot have. With `draining`, `lock` and `starting`, `/readyz` itself reports why the gateway is
 * not ready. `leadership` is reserved for a later version.
 */
const reserved: ReadonlySet<string> = new Set(["draining", "leadership", "lock", "starting"])

/**
 * The rule for a check's name, as text for error messages.
 *
 * @since 0.1.0
 * @category constants
 */
export const allowedName = "1 to 64 printable ASCII characters, but not draining, leadership, lock or starting"

/**
 * Whether a check may have this name.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isAllowedName = (name: string): boolean => /^[ -~]{1,64}$/.test(name) && !reserved.has(name)

type Outcome = Exit.Exit<boolean, unknown>

/**
 * Makes an effect that runs a check and returns `true` if the check passes. A check passes if it succeeds within its timeout with
 * any value other than `false`.
 *
 * Only one run of the check is active at a time. Clients that request readiness during a run share the result of that run. A run
 * that exceeds the timeout is interrupted. If the run cannot be interrupted, no second run starts until it ends. One line is
 * logged whenever the result of the check changes.
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
        // The fiber is a daemon, because the run's result is shared: a client that disconnects must not interrupt a run for which
        // other clients wait.
        Effect.forkDaemon
      )
      yield* Ref.set(running, Option.some(fiber))
      return fiber
      // `start` is uninterruptible. An interruption between the fork and `Ref.set` would leave a run that `running` does not
      // contain. The next client would then start a second run at the same time.
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
              onNone: () => `no result after ${formatDuration(timeout)}`,
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
