/**
 * Holds a gateway's lock files from acquisition to release.
 *
 * Two files in `<state-dir>/locks`: one per config, so that one config runs once, and one for the state
 * directory, so that two configs do not share it.
 *
 * **Guarantees.** On a file system with locks, at most one process of one kernel holds a lock file, and the lock
 * ends with its process, however it ends. **Does not guarantee** exclusion between machines that share a folder,
 * nor, in record-only mode, against a holder whose liveness cannot be told; the port is the second lock then.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Scope from "effect/Scope"
import { type LockHeld, LockLost, type LockUnavailable, type PortInUse } from "../GatewayLockError.ts"
import type { KernelLock } from "../host/KernelLock.ts"
import type { ProbeTransport } from "../host/ProbeTransport.ts"
import * as ProcessTable from "../host/ProcessTable.ts"
import { atMost } from "../internal/atMost.ts"
import { describeDefect, describePlatformError } from "../internal/describeError.ts"
import { keepInterruption } from "../internal/keepInterruption.ts"
import { once } from "../internal/once.ts"
import { whileNot } from "../internal/whileNot.ts"
import { HealthProbe, make as makeHealthProbe } from "../probe/HealthProbe.ts"
import { make as makePortProbe, PortProbe } from "../probe/PortProbe.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import { detachSpan } from "../telemetry/spans.ts"
import type * as History from "./History.ts"
import type { LockFileOptions, LockWithProbesOptions } from "./LockFileOptions.ts"
import * as LockPair from "./LockPair.ts"
import { configLockPath } from "./LockPaths.ts"
import type { Requirements } from "./LockWait.ts"
import { LossReport } from "./LossReport.ts"
import type * as OwnerRecord from "./OwnerRecord.ts"
import type { Enforcement } from "./Snapshot.ts"

export * as History from "./History.ts"
export { defaults, type LockFileOptions, type LockOptions, type LockWithProbesOptions } from "./LockFileOptions.ts"
export { readOwner } from "./LockHolder.ts"
/** @internal */
export { readOwnersOf } from "./LockHolder.ts"
export { configLockPath, type ConfigNames, stateLockPath } from "./LockPaths.ts"
/** @internal */
export { isNamedBy } from "./LockPaths.ts"
export type { Requirements } from "./LockWait.ts"
export * as OwnerRecord from "./OwnerRecord.ts"
/** @internal */
export { ensurePortFree } from "./PortCheck.ts"
export type { Enforcement }

/**
 * The lock, held: what it says of us, and that it is still ours.
 *
 * @since 0.1.0
 * @category tags
 */
export class LockFile extends Context.Tag("gateway-lock/LockFile")<LockFile, {
  /** The lock file of this config. */
  readonly path: string
  /** New for every acquisition; `/healthz` shows the same one. */
  readonly instanceId: string
  /** What kept others out when it was taken: the kernel, or only the record. */
  readonly enforcement: Enforcement
  /** What our lock files say now. */
  readonly record: Effect.Effect<OwnerRecord.OwnerRecord>
  /** Tells readers of the lock files how far we are. Never fails: a record that cannot be rewritten is logged. */
  readonly update: (
    change: Partial<Pick<OwnerRecord.OwnerRecord, "phase" | "host" | "port">>
  ) => Effect.Effect<void>
  /** When the start began that acquired the lock, after waiting for it where need be. */
  readonly startedAt: DateTime.Utc
  /** When the lock was acquired, both of its files. The record's `createdAt`. */
  readonly heldSince: DateTime.Utc
  /** What has happened since the start began, the last of it. */
  readonly history: History.History["changes"]
  /** Never succeeds; fails once the lock turns out to be lost. Race the running program with it. */
  readonly lost: Effect.Effect<never, LockLost>
  /** Completes once the lock turns out to be lost. */
  readonly whenLost: Effect.Effect<Loss>
}>() {}

/**
 * How a lock was lost.
 *
 * @since 0.1.0
 * @category models
 */
export interface Loss {
  readonly error: LockLost
  /** Whether something waited for `lost` at that moment, as `Gateway.launch` and `whileHeld` do. */
  readonly isWatched: boolean
  /** Releases what is still held, such as the lock of the state directory. Otherwise the end of the scope does. */
  readonly release: Effect.Effect<void>
}

/** How long a release may take: a file system that hangs does not keep a process from ending. */
const releaseTimeout = Duration.seconds(5)

/**
 * Waits for a release, within `releaseTimeout`, and logs how the shutdown went. What has not been released by then is
 * released in the background, and by the kernel when the process ends.
 */
const releaseWithin = (
  release: Effect.Effect<void>,
  path: string,
  drainBegan: Option.Option<bigint>,
  isLost: boolean
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const now = yield* Clock.currentTimeNanos
    const released = yield* Effect.forkDaemon(release)
    if (Option.isNone(yield* atMost(releaseTimeout)(Fiber.await(released)))) {
      return yield* Effect.logWarning(
        `gateway lock ${path} was not released within ${
          Duration.format(releaseTimeout)
        }: the file system does not answer`
      )
    }
    if (Option.isNone(drainBegan)) return
    const drained = Duration.format(Duration.millis(Math.round(Number(now - drainBegan.value) / 1e6)))
    yield* Effect.logInfo(
      isLost
        ? `gateway stopped: drained in ${drained}`
        : `gateway stopped: drained in ${drained}, released lock ${path}`
    )
  })

/** Looks after both files. Each on its own: one that waits for its name does not keep the other from being looked after. */
const watchAll = (
  { locks, path }: LockPair.LockPair,
  lose: (error: LockLost) => Effect.Effect<void>
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.forEach(locks, ({ watch }) =>
    watch.pipe(
      Effect.catchAll(lose),
      // A lock that is no longer checked is as good as lost.
      Effect.catchAllDefect((defect) =>
        lose(new LockLost({ path, reason: `checking it failed with a defect: ${describeDefect(defect)}` }))
      ),
      detachSpan,
      Effect.interruptible,
      Effect.forkScoped
    ), { discard: true })

/** Changes the record, in both files too while the lock is not lost. */
const update = (
  { history, locks, record }: LockPair.LockPair,
  loss: Deferred.Deferred<Loss>,
  drainBegan: Ref.Ref<Option.Option<bigint>>,
  change: Partial<Pick<OwnerRecord.OwnerRecord, "phase" | "host" | "port">>
): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* Ref.update(record, (record) => ({ ...record, ...change }))
    if (change.phase !== undefined) yield* history.note(change.phase)
    if (change.phase === "draining") yield* Ref.set(drainBegan, Option.some(yield* Clock.currentTimeNanos))
    // Under the name of a lost lock is another owner's file.
    if (yield* Deferred.isDone(loss)) return
    for (const { acquired: { file: { path } }, write } of locks) {
      yield* write.pipe(
        Effect.catchAll((error) =>
          Effect.logWarning(`could not update gateway lock ${path}: ${describePlatformError(error)}`)
        )
      )
    }
  })

/**
 * Takes both locks, in this order: config, state directory. Released in the reverse order when the scope closes, within five
 * seconds.
 *
 * Fails with `PortInUse`, at once, if our port is occupied; `LockHeld` if the owner serves another port or does not
 * end in time; `LockUnavailable` if the files cannot be used.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: LockFileOptions
): Effect.Effect<LockFile["Type"], PortInUse | LockHeld | LockUnavailable, Requirements | Scope.Scope> =>
  Effect.gen(function*() {
    yield* keepInterruption
    const path = configLockPath(options)
    const reportTo = yield* LossReport
    const loss = yield* Deferred.make<Loss>()
    const drainBegan = yield* Ref.make(Option.none<bigint>())
    // What is acquired from here on is released as one, so that one bound holds for all of it.
    const scope = yield* Scope.make()
    const release = yield* once(
      Effect.flatMap(
        Effect.all([Ref.get(drainBegan), Deferred.isDone(loss)]),
        ([began, isLost]) => releaseWithin(Scope.close(scope, Exit.void), path, began, isLost)
      )
    )
    yield* Effect.addFinalizer(() => release)
    const held = yield* Scope.extend(LockPair.acquire(options), scope)
    const { enforcement, heldSince, history, instanceId, record, startedAt } = held

    /** Fibers that wait for `lost`. */
    const watchers = yield* Ref.make(0)
    yield* Scope.extend(
      Effect.acquireRelease(
        Metric.modify(Metrics.lockHeld, 1),
        () => Effect.unlessEffect(Metric.modify(Metrics.lockHeld, -1), Deferred.isDone(loss))
      ),
      scope
    )
    const lose = (error: LockLost) =>
      Effect.gen(function*() {
        const isWatched = Option.isSome(reportTo) || (yield* Ref.get(watchers)) > 0
        if (!(yield* Deferred.succeed(loss, { error, isWatched, release }))) return
        yield* Effect.logError(error.message)
        yield* history.note("lost", error.message)
        yield* Metric.increment(Metrics.lockLostTotal)
        yield* Metric.modify(Metrics.lockHeld, -1)
        if (Option.isSome(reportTo)) yield* reportTo.value(error)
      }).pipe(Effect.uninterruptible)
    yield* Scope.extend(watchAll(held, lose), scope)

    return LockFile.of({
      path,
      instanceId,
      enforcement,
      record: Ref.get(record),
      update: (change) => update(held, loss, drainBegan, change),
      startedAt,
      heldSince,
      history: history.changes,
      lost: Effect.acquireUseRelease(
        Ref.update(watchers, (count) => count + 1),
        () => Effect.flatMap(Deferred.await(loss), ({ error }) => Effect.fail(error)),
        () => Ref.update(watchers, (count) => count - 1)
      ),
      whenLost: Deferred.await(loss)
    })
  }).pipe(Effect.provideService(ProcessTable.Patience, Duration.zero))

/**
 * Runs an effect for as long as the lock is held. When the lock is lost, the effect is interrupted, and this fails with
 * `LockLost` once it has ended.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway, LockFile } from "gateway-lock"
 *
 * const Lock = LockFile.layerWithProbes({ stateDir: "/var/lib/importer", configPath: "/etc/importer.json" })
 *
 * const program = LockFile.whileHeld(Effect.log("importing")).pipe(
 *   Effect.provide(Lock),
 *   Effect.provide(Gateway.layerNode)
 * )
 *
 * @since 0.1.0
 * @category running
 */
export const whileHeld = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | LockLost, R | LockFile> =>
  Effect.flatMap(LockFile, ({ lost }) => whileNot(lost)(self))

/**
 * The lock, held for as long as the layer is. Fails with `PortInUse`, `LockHeld` or `LockUnavailable`, as `make` does; a lock
 * that is lost later fails `lost`, which `whileHeld` watches.
 *
 * Keep the result in a constant: a second one is a second contender.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: LockFileOptions
): Layer.Layer<LockFile, PortInUse | LockHeld | LockUnavailable, Requirements> => Layer.scoped(LockFile, make(options))

/**
 * `layer` with the probes that it asks, which a listener above it asks again.
 *
 * Fails as `layer` does.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway, LockFile } from "gateway-lock"
 *
 * // A job of cron, with no port: while the last one is still at it, the next goes home.
 * const Lock = LockFile.layerWithProbes({ stateDir: "/var/lib/importer", configPath: "/etc/importer.json", lock: { timeout: 0 } })
 *
 * const job = LockFile.whileHeld(Effect.log("importing")).pipe(
 *   Effect.provide(Lock),
 *   Effect.provide(Gateway.layerNode),
 *   Effect.catchTag("LockHeld", ({ holder }) => Effect.log(`pid ${holder?.pid ?? "unknown"} is still at it`))
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithProbes = (
  options: LockWithProbesOptions
): Layer.Layer<
  LockFile | PortProbe | HealthProbe,
  PortInUse | LockHeld | LockUnavailable,
  FileSystem.FileSystem | KernelLock | ProcessTable.ProcessTable | ProbeTransport
> =>
  // In one effect: every layer between would cost a start a part of a millisecond.
  Layer.scopedContext(Effect.gen(function*() {
    const health = yield* makeHealthProbe(options.health)
    const ports = yield* Effect.provideService(makePortProbe, HealthProbe, health)
    const probes = Context.make(HealthProbe, health).pipe(Context.add(PortProbe, ports))
    return Context.add(probes, LockFile, yield* Effect.provide(make(options), probes))
  }))
