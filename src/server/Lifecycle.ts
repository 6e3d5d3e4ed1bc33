/**
 * The phase of a gateway: starting, listening or draining. The listener sets the phase, and the routes of the gateway report it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"

/**
 * How a gateway takes part in an election among hosts.
 *
 * @since 0.1.0
 * @category models
 */
export type LeadershipPhase = "none" | "awaited" | "held"

/**
 * The phase of a gateway:
 *
 * - `starting`: the port is not bound yet, or it is bound and no app has been served on it yet;
 * - `listening`: an app is served on the port;
 * - `draining`: the gateway shuts down.
 *
 * @since 0.1.0
 * @category tags
 */
export class Lifecycle extends Context.Tag("gateway-lock/Lifecycle")<Lifecycle, {
  /** Whether the port is bound. */
  readonly bound: Effect.Effect<boolean>
  /** Whether an app has been served on the port. */
  readonly started: Effect.Effect<boolean>
  /**
   * Whether this gateway waits to lead the gateways of several hosts (`awaited`), or leads them (`held`). `none` without a lease. A
   * gateway that waits is healthy and has started, but is not ready.
   */
  readonly leadership: Effect.Effect<LeadershipPhase>
  /** Whether shutdown has begun. */
  readonly draining: Effect.Effect<boolean>
  /** Completes when shutdown begins, with the reason that clients receive. */
  readonly drainBegan: Effect.Effect<string>
  /**
   * The names of the built-in checks that have failed. The check `lock` fails when the gateway loses its lock. While any name is
   * listed here, the gateway is not ready.
   */
  readonly failing: Effect.Effect<ReadonlyArray<string>>
  /**
   * Runs all checks that the app has added (`addCheck`), and returns the names of those that fail, each name once. The checks run
   * concurrently, so this takes as long as the slowest check. `Gateway.readiness` bounds each check that it adds by a timeout.
   */
  readonly failingChecks: Effect.Effect<ReadonlyArray<string>>
  /** Records that the port is bound. */
  readonly setBound: Effect.Effect<void>
  /** Records that an app is served on the port. */
  readonly setStarted: Effect.Effect<void>
  /** Records whether this gateway waits to lead. */
  readonly setLeadership: (phase: LeadershipPhase) => Effect.Effect<void>
  /** Begins the shutdown, with the reason that clients receive. Returns `false` if the shutdown had already begun. */
  readonly beginDrain: (reason: string) => Effect.Effect<boolean>
  /** Records that one of the built-in checks has failed. A failed check is never removed. Only the first one counts. */
  readonly fail: (check: string) => Effect.Effect<void>
  /**
   * Adds a check of the app, and removes the check when the scope closes. Each run of `failingChecks` runs `passes`, so
   * concurrent runs of `failingChecks` run `passes` several times at once. To avoid this, the effect that `Gateway.readiness`
   * passes here shares one run of the app's check among them.
   */
  readonly addCheck: (name: string, passes: Effect.Effect<boolean>) => Effect.Effect<void, never, Scope.Scope>
}>() {}

interface Check {
  readonly name: string
  readonly passes: Effect.Effect<boolean>
}

/**
 * Makes the lifecycle of a new gateway: the port is not bound, no app has been served, and no shutdown has begun.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Lifecycle["Type"]> = Effect.gen(function*() {
  const bound = yield* Ref.make(false)
  const started = yield* Ref.make(false)
  const leadership = yield* Ref.make<LeadershipPhase>("none")
  const drain = yield* Deferred.make<string>()
  const failing = yield* Ref.make<ReadonlyArray<string>>([])
  const checks = yield* Ref.make<ReadonlyArray<Check>>([])
  return Lifecycle.of({
    bound: Ref.get(bound),
    started: Ref.get(started),
    leadership: Ref.get(leadership),
    setLeadership: (phase) => Ref.set(leadership, phase),
    draining: Deferred.isDone(drain),
    drainBegan: Deferred.await(drain),
    failing: Ref.get(failing),
    setBound: Ref.set(bound, true),
    setStarted: Ref.set(started, true),
    beginDrain: (reason) => Deferred.succeed(drain, reason),
    // A lost lock ends the leadership as well. The reason is the lock.
    fail: (check) => Ref.update(failing, (before) => before.length === 0 ? [check] : before),
    failingChecks: Effect.flatMap(Ref.get(checks), (checks) =>
      Effect.map(
        Effect.filter(checks, ({ passes }) => passes, { negate: true, concurrency: "unbounded" }),
        (failed) => [...new Set(failed.map(({ name }) => name))]
      )),
    addCheck: (name, passes) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.sync((): Check => ({ name, passes })).pipe(
          Effect.tap((check) => Ref.update(checks, (before) => [...before, check]))
        ),
        (check) => Ref.update(checks, (before) => before.filter((other) => other !== check))
      ))
  })
})

/**
 * Provides a new lifecycle, which `Listener.layer` needs. `Gateway.layer` does not need this layer, because it makes its own
 * lifecycle. The `drainBegan` of that lifecycle is `Gateway.drainBegan`.
 *
 * @example
 * import { Effect } from "effect"
 * import { Server } from "gateway-lock"
 *
 * // Tests how a part of an app reacts to a shutdown.
 * const test = Effect.gen(function*() {
 *   const { beginDrain, drainBegan } = yield* Server.Lifecycle.Lifecycle
 *   const part = yield* Effect.fork(Effect.map(drainBegan, (reason) => `stopped: ${reason}`))
 *   yield* beginDrain("by the test")
 *   return yield* part // stopped: by the test
 * }).pipe(Effect.provide(Server.Lifecycle.layer))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Lifecycle> = Layer.effect(Lifecycle, make)
