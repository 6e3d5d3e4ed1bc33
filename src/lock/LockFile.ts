/**
 * Holds a gateway's lock files from acquisition to release.
 *
 * There are two files in `<state-dir>/locks`. One belongs to the config file, so that only one gateway runs with that
 * config. The other belongs to the state directory, so that gateways with different configs do not share the directory.
 *
 * **Guarantees.** On a file system that supports kernel locks, at most one process of one kernel holds a lock file. The
 * lock ends with its process, even if the process crashes or is killed.
 *
 * **Does not guarantee** exclusion between machines that share a folder. Without kernel locks (record-only mode), a
 * start can take the lock of a live holder if it cannot see the holder's process, for example in another container. In
 * that case the port serves as a second lock within one network, because only one process there can listen on it.
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
import { blockingIf } from "../host/BlockingFiles.ts"
import type { KernelLock } from "../host/KernelLock.ts"
import type { ProbeTransport } from "../host/ProbeTransport.ts"
import * as ProcessTable from "../host/ProcessTable.ts"
import { atMost } from "../internal/atMost.ts"
import { describeDefect, describePlatformError } from "../internal/describeError.ts"
import { formatDuration } from "../internal/formatDuration.ts"
import { keepInterruption } from "../internal/keepInterruption.ts"
import { once } from "../internal/once.ts"
import { acquire } from "../internal/onClose.ts"
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
 * The held lock: its record, its history, and the effects that report its loss.
 *
 * @since 0.1.0
 * @category tags
 */
export class LockFile extends Context.Tag("gateway-lock/LockFile")<LockFile, {
  /** The lock file of this config. */
  readonly path: string
  /** The id of this acquisition, new for every acquisition. The record has it, and the gateway answers with it at `/healthz`. */
  readonly instanceId: string
  /** What kept other starts out when the lock was acquired: the kernel lock, or only the record. */
  readonly enforcement: Enforcement
  /** The current content of both lock files: a record that describes this process as the owner. */
  readonly record: Effect.Effect<OwnerRecord.OwnerRecord>
  /**
   * Changes the phase, the address, the child or the lease in the record, so that readers of the lock files see the change. Returns
   * whether both files have the change. Never fails: if a write fails, the failure is logged. After a loss of the lock, writes nothing.
   */
  readonly update: (change: RecordChange) => Effect.Effect<boolean>
  /**
   * Runs an effect with the descriptors of both lock files, which stay open until the effect has ended. A child process that
   * inherits them keeps the kernel locks until it closes them or ends, even if this process is killed.
   */
  readonly withDescriptors: <A, E, R>(
    use: (descriptors: ReadonlyArray<FileSystem.File.Descriptor>) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, R>
  /** The device and inode of each lock file that was acquired first, as decimal numbers. */
  readonly acquiredFiles: ReadonlyArray<{ readonly device: string; readonly inode: string }>
  /** When this process began to acquire the lock, before any wait for the lock. */
  readonly startedAt: DateTime.Utc
  /** When both lock files were acquired. The record contains this time as `createdAt`. */
  readonly heldSince: DateTime.Utc
  /** The most recent changes of the phase and of the lock files since `startedAt`. */
  readonly history: History.History["changes"]
  /** Never succeeds. Fails once the lock is found to be lost. Race the program against this effect. */
  readonly lost: Effect.Effect<never, LockLost>
  /** Completes once the lock is found to be lost. */
  readonly whenLost: Effect.Effect<Loss>
}>() {}

/**
 * The parts of a record that its owner can change.
 *
 * @since 0.1.0
 * @category models
 */
export type RecordChange = Partial<
  Pick<OwnerRecord.OwnerRecord, "phase" | "host" | "port" | "child" | "inheritsLock" | "lease">
>

/**
 * How a lock was lost.
 *
 * @since 0.1.0
 * @category models
 */
export interface Loss {
  readonly error: LockLost
  /**
   * Whether a fiber was waiting for the effect `lost` of `LockFile` when the lock was lost. `Gateway.launch` and `whileHeld` wait
   * for this effect.
   */
  readonly isWatched: boolean
  /**
   * Releases the locks that are still held, such as the lock of the state directory if the lock of the config was lost.
   * If the caller does not run this effect, they are released when the scope closes.
   */
  readonly release: Effect.Effect<void>
}

/** How long a release may take. The limit lets the process end even if the file system hangs. */
const releaseTimeout = Duration.seconds(5)

/** The last log line of an owner that had the phase `draining`. Pure. */
const describeEnd = (mode: LockFileOptions["mode"], path: string, took: string, isLost: boolean): string => {
  const released = isLost ? "" : `, released lock ${path}`
  // `gateway exec` has no connections to drain. It has this phase while it waits for processes that its command left behind.
  return mode === "exec"
    ? `gateway exec stopped: waited ${took} for processes that its command left behind${released}`
    : `gateway stopped: drained in ${took}${released}`
}

/**
 * Waits at most `releaseTimeout` for a release. If the owner had the phase `draining` before, logs how long that phase
 * took. If the release takes longer than `releaseTimeout`, logs a warning instead. The release then continues in the
 * background, and the kernel releases the locks when the process ends.
 */
const releaseWithin = (
  release: Effect.Effect<void>,
  { mode, path }: Pick<LockFileOptions, "mode"> & { readonly path: string },
  drainBegan: Option.Option<bigint>,
  isLost: boolean
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const now = yield* Clock.currentTimeNanos
    const released = yield* Effect.forkDaemon(release)
    if (Option.isNone(yield* atMost(releaseTimeout)(Fiber.await(released)))) {
      return yield* Effect.logWarning(
        `gateway lock ${path} was not released within ${
          formatDuration(releaseTimeout)
        }: the file system does not answer`
      )
    }
    if (Option.isNone(drainBegan)) return
    const took = formatDuration(Duration.millis(Math.round(Number(now - drainBegan.value) / 1e6)))
    yield* Effect.logInfo(describeEnd(mode, path, took, isLost))
  })

/** Watches both files, each on its own fiber, so that a retry for one file does not delay the checks of the other. */
const watchAll = (
  { locks, path }: LockPair.LockPair,
  lose: (error: LockLost) => Effect.Effect<void>
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.forEach(locks, ({ watch }) =>
    watch.pipe(
      Effect.catchAll(lose),
      // A defect ends the checks. From then on the lock is no longer checked, so it counts as lost.
      Effect.catchAllDefect((defect) =>
        lose(new LockLost({ path, reason: `checking it failed with a defect: ${describeDefect(defect)}` }))
      ),
      detachSpan,
      Effect.interruptible,
      Effect.forkScoped
    ), { discard: true })

const leaseKinds = { standby: "standby", leader: "leading", lost: "leadership-lost" } as const

/** Whether a change says no more than that a lease was renewed. */
const isRenewal = (before: OwnerRecord.OwnerRecord, { lease, ...others }: RecordChange): boolean =>
  lease !== undefined && lease.state === before.lease?.state && Object.keys(others).length === 0

/** Changes the record, and writes it to both files unless the lock is lost. Returns whether both files have the change. */
const update = (
  { history, locks, record }: LockPair.LockPair,
  loss: Deferred.Deferred<Loss>,
  drainBegan: Ref.Ref<Option.Option<bigint>>,
  change: RecordChange
): Effect.Effect<boolean> =>
  Effect.gen(function*() {
    const before = yield* Ref.getAndUpdate(record, (record) => ({ ...record, ...change }))
    // Renewals follow each other within seconds. A full disk would fill the log with the same warning.
    const log = isRenewal(before, change) ? Effect.logDebug : Effect.logWarning
    if (change.phase !== undefined) yield* history.note(change.phase)
    if (change.lease !== undefined && change.lease.state !== before.lease?.state) {
      yield* history.note(leaseKinds[change.lease.state])
    }
    if (change.phase === "draining") yield* Ref.set(drainBegan, Option.some(yield* Clock.currentTimeNanos))
    // After a loss, the lock file can belong to another owner, so it is not written.
    if (yield* Deferred.isDone(loss)) return false
    const written = yield* Effect.forEach(locks, ({ acquired: { file: { path } }, write }) =>
      write.pipe(
        Effect.as(true),
        Effect.catchAll((error) =>
          Effect.as(
            log(`could not update gateway lock ${path}: ${describePlatformError(error)}`),
            false
          )
        )
      ))
    return written.every((isWritten) => isWritten)
  })

/**
 * Collects the descriptors of both locks, and then runs `use`. The calls are nested, because each lock keeps its
 * descriptor open only until the effect that it was passed to has ended.
 */
const withDescriptors = <A, E, R>(
  { locks }: Pick<LockPair.LockPair, "locks">,
  use: (descriptors: ReadonlyArray<FileSystem.File.Descriptor>) => Effect.Effect<A, E, R>,
  collected: ReadonlyArray<FileSystem.File.Descriptor> = []
): Effect.Effect<A, E, R> => {
  const lock = locks[collected.length]
  return lock === undefined
    ? use(collected)
    : lock.withDescriptor((descriptor) => withDescriptors({ locks }, use, [...collected, descriptor]))
}

/**
 * Acquires both locks: first the lock of the config, then the lock of the state directory. When the scope closes,
 * releases them in reverse order, within five seconds.
 *
 * Fails with `PortInUse`, at once, if the port of this gateway is in use. Fails with `LockHeld` if another process holds
 * the lock: at once if that process serves on another port, otherwise if it does not release the lock in time. Fails
 * with `LockUnavailable` if the lock files cannot be used.
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
    const mayBlock = yield* Ref.make(false)
    // Everything acquired from here on is released together, so that one timeout bounds the whole release.
    const scope = yield* Scope.make()
    const release = yield* once(
      Effect.flatMap(
        Effect.all([Ref.get(drainBegan), Deferred.isDone(loss), Ref.get(mayBlock)]),
        ([began, isLost, mayBlock]) =>
          releaseWithin(
            blockingIf(mayBlock)(Scope.close(scope, Exit.void)),
            { mode: options.mode, path },
            began,
            isLost
          )
      )
    )
    // Not `onClose`: the release logs, and whoever closes the scope may have other loggers than the start.
    yield* Effect.addFinalizer(() => release)
    const held = yield* Scope.extend(LockPair.acquire(options), scope)
    yield* Ref.set(mayBlock, held.mayBlock)
    const { enforcement, heldSince, history, instanceId, record, startedAt } = held

    /** The number of fibers that wait for the loss of the lock. */
    const watchers = yield* Ref.make(0)
    yield* Scope.extend(
      acquire(
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
      withDescriptors: (use) => withDescriptors(held, use),
      acquiredFiles: held.locks.map(({ acquired: { file } }) => {
        const [device = "", inode = ""] = file.id.split(":")
        return { device, inode }
      }),
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
 * Runs an effect while the lock is held. If the lock is lost, `whileHeld` interrupts the effect, waits until its finalizers have
 * run, and fails with `LockLost`.
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
 * Holds the lock for the lifetime of the layer. Fails with `PortInUse`, `LockHeld` or `LockUnavailable`, as `make`
 * does. If the lock is lost later, the service's `lost` fails. To run an effect that a loss of the lock interrupts, use
 * `whileHeld`.
 *
 * Keep the layer in a constant, because a second call of `layer` makes a second layer, which competes for the same lock.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: LockFileOptions
): Layer.Layer<LockFile, PortInUse | LockHeld | LockUnavailable, Requirements> => Layer.scoped(LockFile, make(options))

/**
 * Holds the lock as `layer` does, and also provides the probes that `layer` requires. A listener that is built on this
 * layer uses the same probes.
 *
 * Fails as `layer` does.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway, LockFile } from "gateway-lock"
 *
 * // A cron job without a port. If the previous run still holds the lock, this run ends at once.
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
  // One effect builds all three services, because each additional layer would delay a start by a fraction of a
  // millisecond.
  Layer.scopedContext(Effect.gen(function*() {
    const health = yield* makeHealthProbe(options.health)
    const ports = yield* Effect.provideService(makePortProbe, HealthProbe, health)
    const probes = Context.make(HealthProbe, health).pipe(Context.add(PortProbe, ports))
    return Context.add(probes, LockFile, yield* Effect.provide(make(options), probes))
  }))
