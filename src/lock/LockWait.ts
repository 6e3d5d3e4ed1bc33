/**
 * Acquires one lock file for a gateway that starts. If the lock is held, retries until the start has waited as long as it may.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { LockHeld, type LockUnavailable, type PortInUse } from "../GatewayLockError.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import type { KernelLock } from "../host/KernelLock.ts"
import { isMomentaryCause } from "../host/momentary.ts"
import type { ProcessTable } from "../host/ProcessTable.ts"
import type { HealthProbe } from "../probe/HealthProbe.ts"
import type { PortProbe } from "../probe/PortProbe.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import * as LockAttempt from "./LockAttempt.ts"
import { type LockFileOptions, timesOf } from "./LockFileOptions.ts"
import * as LockFolder from "./LockFolder.ts"
import { holderOf } from "./LockHolder.ts"
import type * as OwnerRecord from "./OwnerRecord.ts"
import { failIfServing } from "./PortCheck.ts"
import { presentProcess } from "./PresentProcess.ts"
import type * as Staleness from "./Staleness.ts"
import * as StalenessJudge from "./StalenessJudge.ts"

/**
 * The services that acquiring a lock requires.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements =
  | FileSystem.FileSystem
  | KernelLock
  | ProcessTable
  | PortProbe
  | HealthProbe

/** Which lock file a start acquires, and which record it writes there. */
export interface AcquireOptions {
  readonly path: string
  readonly options: LockFileOptions
  /** The record that the next attempt writes. `isFirst` is true for the first attempt. */
  readonly recordOf: (isFirst: boolean) => Effect.Effect<OwnerRecord.OwnerRecord>
  /** Whether this start has just locked another file in this folder. If so, the file system is known to enforce locks. */
  readonly isLockable: boolean
  /** How much longer this start may wait. */
  readonly patience: Ref.Ref<Duration.Duration>
}

/** A lock file that was acquired, and what a dead owner had left in it. */
export interface Acquired {
  readonly file: LockAttempt.HeldFile
  readonly reclaimed: Option.Option<Reclaimed>
}

/** What a dead owner left in a lock file, and why the lock was reclaimed. */
export type Reclaimed = LockAttempt.Leftover & {
  readonly path: string
  readonly reason: Staleness.ReclaimReason | "its kernel lock is free"
}

/** The file system refused an operation, but a retry may succeed (`isMomentaryCause`). Internal to this module. */
class Refused {
  readonly _tag = "Refused"
  readonly error: LockUnavailable
  constructor(error: LockUnavailable) {
    this.error = error
  }
}

/** Another process holds the lock, and may release it before the start gives up. Internal to this module. */
class NotYet {
  readonly _tag = "NotYet"
  readonly snapshot: LockAttempt.Snapshot
  constructor(snapshot: LockAttempt.Snapshot) {
    this.snapshot = snapshot
  }
}

type TryError = NotYet | Refused | PortInUse | LockHeld | LockUnavailable

const isFinal = (error: TryError): error is PortInUse | LockHeld | LockUnavailable =>
  error._tag !== "NotYet" && error._tag !== "Refused"

const describeOwner = (record: Option.Option<OwnerRecord.OwnerRecord>): Effect.Effect<string, never, ProcessTable> =>
  Option.match(record, {
    onNone: () => Effect.succeed("an owner without a readable record"),
    onSome: (record) => Effect.map(presentProcess(record), ({ process }) => `pid ${process.pid} (${record.phase})`)
  })

/**
 * Makes the folder of the lock file. Windows can refuse that for a moment, for example while a removal of the folder is
 * pending. In that case, this effect retries. It subtracts the time of the retries from `patience`, the time that the start
 * may wait.
 */
export const ensureFolder = (
  { options, path, patience }: Pick<AcquireOptions, "path" | "options" | "patience">
): Effect.Effect<void, LockUnavailable, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const platform = yield* HostPlatform
    const ensure = LockFolder.ensure(path)
    const isMomentary = (error: LockUnavailable) => isMomentaryCause(platform, error)
    const again = Effect.gen(function*() {
      const left = yield* Ref.get(patience)
      const [waited] = yield* ensure.pipe(
        Effect.retry({
          schedule: Schedule.spaced(timesOf(options).pollInterval).pipe(Schedule.upTo(left)),
          while: isMomentary
        }),
        Effect.timed
      )
      yield* Ref.set(patience, Duration.subtract(left, waited))
    })
    yield* Effect.catchIf(ensure, isMomentary, () => again)
  })

/** Runs a check of the owner's port for at most the time that is left of a wait, and not at all if no time is left. */
const checkWithin =
  (remaining: Effect.Effect<Duration.Duration>) =>
  <E, R>(check: Effect.Effect<void, E, R>): Effect.Effect<void, E, R> =>
    Effect.flatMap(
      remaining,
      (left) => Duration.equals(left, Duration.zero) ? Effect.void : Effect.asVoid(Effect.timeoutOption(check, left))
    )

/**
 * Makes one attempt without waiting. Acquires the lock if it is free. If no kernel lock is held and only a record names
 * an owner, also acquires the lock if that record is judged stale. `remaining` is the time that is left of a wait; the first attempt
 * is not a part of a wait.
 */
const tryOnce = (
  { isLockable, options, path, recordOf }: AcquireOptions,
  { isAbandoned, judge }: StalenessJudge.StalenessJudge,
  platform: string,
  remaining?: Effect.Effect<Duration.Duration>
): Effect.Effect<Acquired, TryError, Requirements | Scope.Scope> =>
  Effect.gen(function*() {
    const record = yield* recordOf(remaining === undefined)
    const attempt = (reclaim: Option.Option<LockAttempt.Snapshot>) =>
      LockAttempt.attempt({ path, record: (lock) => ({ ...record, lock }), reclaim, isAbandoned, isLockable }).pipe(
        Effect.mapError((error) => isMomentaryCause(platform, error) ? new Refused(error) : error)
      )
    const first = yield* attempt(Option.none())
    if (first._tag === "Mine") {
      return {
        file: first.file,
        reclaimed: Option.map(
          first.file.leftover,
          (leftover) => ({ ...leftover, path, reason: "its kernel lock is free" as const })
        )
      }
    }
    const check = failIfServing(path, options, first.snapshot)
    yield* remaining === undefined ? check : checkWithin(remaining)(check)
    if (first.snapshot.enforcement === "kernel") return yield* Effect.fail(new NotYet(first.snapshot))
    const verdict = yield* judge(first.snapshot)
    if (verdict._tag === "Wait") return yield* Effect.fail(new NotYet(first.snapshot))
    const second = yield* attempt(Option.some(first.snapshot))
    if (second._tag === "Held") return yield* Effect.fail(new NotYet(second.snapshot))
    return {
      file: second.file,
      reclaimed: Option.map(second.file.leftover, (leftover) => ({ ...leftover, path, reason: verdict.reason }))
    }
  })

/** Fails, because the wait has ended without the lock. The error depends on `last`, the result of the last attempt. */
const giveUp = ({ options, path }: AcquireOptions) =>
(
  last: NotYet | Refused
): Effect.Effect<never, LockHeld | LockUnavailable, FileSystem.FileSystem | ProcessTable> =>
  Effect.gen(function*() {
    if (last._tag === "Refused") return yield* last.error
    const { record } = last.snapshot
    return yield* new LockHeld({
      path,
      timeout: timesOf(options).timeout,
      ...(Option.isSome(record) ? { holder: yield* holderOf(record.value) } : {})
    })
  })

/**
 * Retries until the lock is acquired, or an attempt shows that waiting is useless, or the time `left` is over. The last attempt
 * begins when the time is over, and an attempt that has begun is always completed. So a process that was stopped during the wait
 * (SIGSTOP, a paused virtual machine) does not give up because of what it saw before.
 */
const wait = (
  request: AcquireOptions,
  again: (remaining: Effect.Effect<Duration.Duration>) => Effect.Effect<Acquired, TryError, Requirements | Scope.Scope>,
  first: NotYet | Refused,
  left: Duration.Duration
): Effect.Effect<Acquired, PortInUse | LockHeld | LockUnavailable, Requirements | Scope.Scope> =>
  Effect.gen(function*() {
    const { options, path, patience } = request
    const { pollInterval } = timesOf(options)
    yield* options.beforeWaiting ?? Effect.void
    yield* Effect.logInfo(
      `waiting up to ${Math.round(Duration.toMillis(left))}ms for gateway lock ${path}${
        first._tag === "Refused"
          ? `: ${first.error.reason}`
          : `, held by ${yield* describeOwner(first.snapshot.record)}`
      }`
    )
    const began = yield* Clock.currentTimeNanos
    const remaining = Effect.map(
      Clock.currentTimeNanos,
      (now) => Duration.subtract(left, Duration.nanos(now - began))
    )
    const attempt = Effect.gen(function*() {
      yield* Effect.sleep(Duration.min(pollInterval, yield* remaining))
      const isLast = Duration.equals(yield* remaining, Duration.zero)
      const next = again(remaining)
      return yield* isLast ? Effect.catchTags(next, { NotYet: giveUp(request), Refused: giveUp(request) }) : next
    })
    return yield* Effect.retry(attempt, { until: isFinal }).pipe(
      Effect.timed,
      Effect.tap(([waited]) => Ref.set(patience, Duration.subtract(left, waited))),
      Effect.map(([, acquired]) => acquired),
      Metrics.during(Metric.tagged(Metrics.lockWaiters, "for", "lock"))
    )
  })

/**
 * Acquires the lock file. The lock is released when the scope closes. The effect waits only between two attempts, and can
 * be interrupted only there.
 */
export const acquire = (
  request: AcquireOptions
): Effect.Effect<Acquired, PortInUse | LockHeld | LockUnavailable, Requirements | Scope.Scope> =>
  Effect.gen(function*() {
    const platform = yield* HostPlatform
    const judge = yield* StalenessJudge.make(timesOf(request.options).staleAfter)
    const waitUnlessImpatient = (first: NotYet | Refused) =>
      Effect.flatMap(Ref.get(request.patience), (left) =>
        Duration.equals(left, Duration.zero)
          ? giveUp(request)(first)
          : wait(request, (remaining) => tryOnce(request, judge, platform, remaining), first, left))
    return yield* tryOnce(request, judge, platform).pipe(
      Effect.catchTags({ NotYet: waitUnlessImpatient, Refused: waitUnlessImpatient })
    )
  })
