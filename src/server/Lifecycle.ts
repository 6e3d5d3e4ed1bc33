/**
 * How far a gateway has come, shared by the listener, its routes and the record.
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
 * `starting`: not bound, or bound while no app serves yet. `listening`: serving. `draining`: shutting down.
 *
 * @since 0.1.0
 * @category tags
 */
export class Lifecycle extends Context.Tag("gateway-lock/Lifecycle")<Lifecycle, {
  /** Whether the port is bound. */
  readonly bound: Effect.Effect<boolean>
  /** Whether an app serves. */
  readonly started: Effect.Effect<boolean>
  /** Whether shutdown has begun. */
  readonly draining: Effect.Effect<boolean>
  /** Completes when shutdown begins, with the reason that clients are told. */
  readonly drainBegan: Effect.Effect<string>
  /** The checks by which the gateway is not ready though it serves: `lock` once its lock is lost. */
  readonly failing: Effect.Effect<ReadonlyArray<string>>
  /** The app's own checks that fail now, each name once. Takes as long as the slowest check, its deadline at most. */
  readonly failingChecks: Effect.Effect<ReadonlyArray<string>>
  /** The port is bound now. */
  readonly setBound: Effect.Effect<void>
  /** An app serves now. */
  readonly setStarted: Effect.Effect<void>
  /** Shutdown begins, with the reason that clients are told. `false` if it had begun before. */
  readonly beginDrain: (reason: string) => Effect.Effect<boolean>
  /** Adds a failing check, for good. */
  readonly fail: (check: string) => Effect.Effect<void>
  /** Adds a check of the app's, until the scope closes. `passes` runs for one asker at a time. */
  readonly addCheck: (name: string, passes: Effect.Effect<boolean>) => Effect.Effect<void, never, Scope.Scope>
}>() {}

interface Check {
  readonly name: string
  readonly passes: Effect.Effect<boolean>
}

/**
 * A gateway that has not begun: neither bound nor started, and not draining.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Lifecycle["Type"]> = Effect.gen(function*() {
  const bound = yield* Ref.make(false)
  const started = yield* Ref.make(false)
  const drain = yield* Deferred.make<string>()
  const failing = yield* Ref.make<ReadonlyArray<string>>([])
  const checks = yield* Ref.make<ReadonlyArray<Check>>([])
  return Lifecycle.of({
    bound: Ref.get(bound),
    started: Ref.get(started),
    draining: Deferred.isDone(drain),
    drainBegan: Deferred.await(drain),
    failing: Ref.get(failing),
    setBound: Ref.set(bound, true),
    setStarted: Ref.set(started, true),
    beginDrain: (reason) => Deferred.succeed(drain, reason),
    fail: (check) => Ref.update(failing, (before) => [...before, check]),
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
 * The same as a layer, for `Listener.layer`. `Gateway.layer` has one of its own, and shows its end as `Gateway.drainBegan`.
 *
 * @example
 * import { Effect } from "effect"
 * import { Server } from "gateway-lock"
 *
 * // A test of what an app's part does at shutdown.
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
