/**
 * Acquires the two lock files of a gateway: first the one of its config, then the one of its state directory. Both files
 * contain the same record, which describes the gateway.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import * as NodePath from "node:path"
import type { LockHeld, LockUnavailable, PortInUse } from "../GatewayLockError.ts"
import { BlockingFiles, blockingIf } from "../host/BlockingFiles.ts"
import { InstanceId } from "../host/InstanceId.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import { spanned } from "../telemetry/spans.ts"
import * as StartMetrics from "../telemetry/startMetrics.ts"
import { describeReclaim, recordAcquire, recordReclaim } from "./AcquisitionReport.ts"
import * as HeldLock from "./HeldLock.ts"
import * as History from "./History.ts"
import { defaults, type LockFileOptions, timesOf } from "./LockFileOptions.ts"
import { holderOf, withHolder } from "./LockHolder.ts"
import { configLockPath, stateLockPath } from "./LockPaths.ts"
import { acquire as acquireOne, type Acquired, ensureFolder, type Requirements } from "./LockWait.ts"
import type * as OwnerRecord from "./OwnerRecord.ts"
import { ensurePortFree } from "./PortCheck.ts"
import type { Enforcement } from "./Snapshot.ts"

/** The two locks of a gateway, for its config and for its state directory. The scope of `acquire` releases them. */
export interface LockPair {
  /** The lock file of the config. */
  readonly path: string
  readonly instanceId: string
  /** The present record. Both files must contain it. */
  readonly record: Ref.Ref<OwnerRecord.OwnerRecord>
  readonly locks: ReadonlyArray<HeldLock.HeldLock<Acquired>>
  readonly enforcement: Enforcement
  readonly startedAt: DateTime.Utc
  readonly heldSince: DateTime.Utc
  readonly history: History.History
  /** Whether this process may block its thread for the files of the locks, while it serves nothing. */
  readonly mayBlock: boolean
}

/** The values that a start (a gateway that is starting) needs for both of its locks. */
interface Start {
  readonly options: LockFileOptions
  readonly instanceId: string
  readonly record: Ref.Ref<OwnerRecord.OwnerRecord>
  readonly history: History.History
  /** How much longer this start may wait, for both locks together. */
  readonly patience: Ref.Ref<Duration.Duration>
}

/**
 * The rule (`ready`) in the record, by which other processes judge whether this owner is healthy. Without a rule, they request
 * `/healthz`. An owner without an address cannot be asked, so its rule is `none`: it is healthy while it holds the lock.
 */
const readyOf = ({ address, ready }: LockFileOptions): Pick<OwnerRecord.OwnerRecord, "ready"> => {
  const rule = ready ?? (address === undefined ? "none" : undefined)
  return rule === undefined ? {} : { ready: rule }
}

const firstRecord = (
  options: LockFileOptions,
  instanceId: string,
  identity: OwnerRecord.ProcessIdentity,
  startedAt: DateTime.Utc
): OwnerRecord.OwnerRecord => ({
  version: 1,
  instanceId,
  ...identity,
  createdAt: Option.some(startedAt),
  configPath: options.configPath,
  configName: options.configName ?? options.configPath,
  stateDir: options.stateDir,
  host: options.address?.host ?? "",
  port: options.address?.port ?? 0,
  phase: "starting",
  supervisor: options.supervisor ?? "none",
  ...(options.supervisorReason === undefined ? {} : { supervisorReason: options.supervisorReason }),
  mode: options.mode ?? "run",
  ...readyOf(options)
})

/** Acquires one of the two locks, and keeps it until the scope closes. */
const hold = (
  { history, instanceId, options, patience, record }: Start,
  path: string,
  recordOf: (isFirst: boolean) => Effect.Effect<OwnerRecord.OwnerRecord>,
  isLockable: boolean
): Effect.Effect<
  HeldLock.HeldLock<Acquired>,
  PortInUse | LockHeld | LockUnavailable,
  Requirements | Scope.Scope
> =>
  Effect.flatMap(Effect.context<ProcessTable | FileSystem.FileSystem>(), (context) => {
    const { pollInterval, recheckInterval, staleAfter, timeout } = timesOf(options)
    return HeldLock.make({
      path,
      acquire: Effect.catchTag(
        acquireOne({ path, options, recordOf, isLockable, patience }),
        "LockUnavailable",
        withHolder(instanceId)
      ),
      record: Ref.get(record),
      holderOf: (record) => Effect.provide(holderOf(record), context),
      recheckInterval,
      staleAfter,
      // If one lock file is removed, another start can acquire that file. That start then waits up to `timeout` for the
      // other lock file, and gives up. So this gateway tries for as long to re-acquire the removed file. The minimum is
      // the default timeout, because the `timeout` of a standby (a process that waits to take over) is zero. A standby
      // waits before it tries to acquire the locks, not while it tries.
      patience: Duration.max(timeout, defaults.lock.timeout),
      pollInterval,
      keepsFirst: options.keepsFirst ?? false,
      note: history.note
    })
  })

/**
 * Logs a warning if no kernel lock is available and only the record enforces the lock. Logs another warning if a dead
 * owner left the lock. Each warning is logged only once, even if it applies to both files. Returns `record` if a file has
 * no kernel lock, and otherwise `kernel`.
 */
const reportAcquired = (config: Acquired, state: Acquired, history: History.History): Effect.Effect<Enforcement> =>
  Effect.gen(function*() {
    const recordOnly = [config.file, state.file].find(({ enforcement }) => enforcement === "record")
    if (recordOnly !== undefined) yield* HeldLock.warnOfFallback(recordOnly)
    // A dead owner leaves both files, so one log line stands for both.
    const reclaimed = Option.orElse(config.reclaimed, () => state.reclaimed)
    if (Option.isSome(reclaimed)) {
      const message = describeReclaim(reclaimed.value)
      yield* Effect.logWarning(message)
      yield* history.note("reclaimed", message)
      yield* recordReclaim(reclaimed.value)
    } else {
      yield* history.note("locked")
    }
    return recordOnly === undefined ? "kernel" : "record"
  })

/** Acquires both lock files, once the port is known to be free. */
const acquireBoth = (
  options: LockFileOptions
): Effect.Effect<Omit<LockPair, "mayBlock">, PortInUse | LockHeld | LockUnavailable, Requirements | Scope.Scope> =>
  Effect.gen(function*() {
    const table = yield* ProcessTable
    const path = configLockPath(options)
    const patience = yield* Ref.make(timesOf(options).timeout)
    yield* ensureFolder({ path, options, patience })

    const instanceId = yield* Effect.flatten(InstanceId)
    const identity = yield* table.self
    const startedAt = yield* DateTime.now
    const record = yield* Ref.make(firstRecord(options, instanceId, identity, startedAt))
    const history = yield* History.make(startedAt)
    const heldSince = yield* Ref.make(startedAt)
    const recordNow = Effect.tap(DateTime.now, (now) => Ref.set(heldSince, now)).pipe(
      Effect.flatMap((now) => Ref.updateAndGet(record, (record) => ({ ...record, createdAt: Option.some(now) })))
    )
    const start: Start = { options, instanceId, record, history, patience }

    yield* table.noteRelease(instanceId)
    const config = yield* hold(start, path, () => recordNow, false)
    const configLocked = { record: yield* Ref.get(record), since: yield* Ref.get(heldSince) }
    const state = yield* hold(
      start,
      stateLockPath(options),
      // Both files get the same record, unless this start had to wait for the second file. In that case `createdAt` is
      // set again, because the lock counts as acquired only when both files are held.
      (isFirst) => isFirst ? Effect.succeed(configLocked.record) : recordNow,
      // Both files are in the same folder. So a kernel lock on the first file shows that the file system can lock.
      config.acquired.file.enforcement === "kernel"
    )
    const since = yield* Ref.get(heldSince)
    // If `createdAt` was set again, the first file still has the earlier time, so write its record again. A failed write
    // is harmless, because each periodic check of the file writes the record.
    if (!DateTime.Equivalence(since, configLocked.since)) yield* Effect.ignore(config.write)
    const enforcement = yield* reportAcquired(config.acquired, state.acquired, history)
    return {
      path,
      instanceId,
      record,
      locks: [config, state],
      enforcement,
      startedAt,
      heldSince: since,
      history
    }
  })

/**
 * Acquires the lock files of the config and of the state directory, and writes the gateway's record into both. The scope
 * releases both when it closes.
 */
export const acquire = (
  options: LockFileOptions
): Effect.Effect<LockPair, PortInUse | LockHeld | LockUnavailable, Requirements | Scope.Scope> =>
  Effect.gen(function*() {
    yield* ensurePortFree(options)
    const mayBlock = yield* Effect.flatMap(
      BlockingFiles,
      ({ isAllowed }) => isAllowed(NodePath.dirname(configLockPath(options)))
    )
    return { ...(yield* blockingIf(mayBlock)(acquireBoth(options))), mayBlock }
  }).pipe(
    StartMetrics.timed(recordAcquire),
    spanned("gateway.lock.acquire", { "gateway.lock.path": configLockPath(options) })
  )
