/**
 * Is the file that we hold still the one under its name, and what is done when it is not?
 *
 * Operators, sync tools and cleaners of temporary folders remove and replace lock files. While the name is not ours
 * another start could take it, though not our port; so we look every now and then:
 *
 *     the path is our file      → write the record once more, which keeps the file young, and whole
 *     it is gone, or another's  → make the folder, attempt the path as any start would
 *       mine   → this is our file from now on; the old one is closed
 *       held   → by one that serves: lost. Else it may be a start that is about to be refused by our other lock
 *                or our port: attempt again for as long as a start waits, then lost
 *       failed → it says nothing about who has the lock: warn, serve on, attempt again at the next look; lost after
 *                `maxFailures` of them
 *
 * The attempt creates exclusively, locks, and compares, so that regaining is as safe as taking the first time. Without
 * a kernel lock the record is the lock: a file with another record is another's, a copy of our own is ours.
 *
 * One step at a time, under a mutex: a record that is written goes to the file of that moment, and a release, which
 * begins by interrupting the watch, waits for the step and then releases what it took.
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { type Holder, LockLost, type LockUnavailable } from "../GatewayLockError.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import type { KernelLock } from "../host/KernelLock.ts"
import { isMomentary, isMomentaryCause } from "../host/momentary.ts"
import { describePlatformError } from "../internal/describeError.ts"
import { keepIfScoped } from "../internal/keepIf.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import type * as History from "./History.ts"
import * as LockAttempt from "./LockAttempt.ts"
import * as LockFolder from "./LockFolder.ts"
import type { OwnerRecord } from "./OwnerRecord.ts"

/** How a lock is kept. */
interface KeepOptions {
  readonly path: string
  /** What the file is to say now. */
  readonly record: Effect.Effect<OwnerRecord>
  /** Who a record names, for the error that tells who has the lock now. */
  readonly holderOf: (record: OwnerRecord) => Effect.Effect<Holder>
  /** Between two looks, at most: at least three fit into `staleAfter`. */
  readonly recheckInterval: Duration.Duration
  /** What an unreadable or unverifiable record is given before it is stale: the holder's own must stay younger. */
  readonly staleAfter: Duration.Duration
  /** For how long another process may have the name before the lock is given up. */
  readonly patience: Duration.Duration
  /** How often to try meanwhile. */
  readonly pollInterval: Duration.Duration
  /** Told what is logged, and of which kind it is. */
  readonly note?: History.History["note"]
}

/** How a lock is acquired and kept. */
export interface HeldLockOptions<A, E, R> extends KeepOptions {
  /** Takes it the first time, waiting for as long as a start may wait. */
  readonly acquire: Effect.Effect<A, E, R>
}

/** A lock that is held until the scope closes, under whichever file has its name. */
export interface HeldLock<A> {
  /** How it was taken the first time. */
  readonly acquired: A
  /** Brings the file up to date with the record. */
  readonly write: Effect.Effect<void, PlatformError>
  /** Looks after the file for ever; fails when the lock is lost. */
  readonly watch: Effect.Effect<never, LockLost>
}

/** The file that is ours now, and the scope whose end releases it. */
interface Present {
  readonly file: LockAttempt.HeldFile
  readonly scope: Scope.CloseableScope
}

/** Somebody else has the name. Internal to this module. */
class Taken {
  readonly _tag = "Taken"
  readonly moved: string
  readonly snapshot: LockAttempt.Snapshot
  constructor(moved: string, snapshot: LockAttempt.Snapshot) {
    this.moved = moved
    this.snapshot = snapshot
  }
}

/** It could not be made ours again. Internal to this module. */
class Failed {
  readonly _tag = "Failed"
  readonly moved: string
  readonly error: LockUnavailable
  constructor(moved: string, error: LockUnavailable) {
    this.moved = moved
    this.error = error
  }
}

/** It could not be looked at. Internal to this module. */
class Unseen {
  readonly _tag = "Unseen"
  readonly error: PlatformError
  constructor(error: PlatformError) {
    this.error = error
  }
}

const unregained = { Taken: "taken", Failed: "failed", Unseen: "unseen" } as const

/** So many looks in a row may fail to regain a lost file: five minutes by default, as for an unhealthy owner. */
export const maxFailures = 10

const recordOnly = ({ enforcement }: LockAttempt.HeldFile): number => enforcement === "record" ? 1 : 0

const looked = (result: Metrics.LockRecheckResult): Effect.Effect<void> =>
  Metric.increment(Metric.tagged(Metrics.lockRecheckTotal, "result", result))

/** Of several writes within `staleAfter` one may come late. */
const writesWhileFresh = 3

/** A `staleAfter` of zero must not make the watch spin. */
const shortestInterval = Duration.millis(10)

/** Says that a file is kept by its record alone, if it is. */
export const warnOfFallback = ({ fallback, path }: LockAttempt.HeldFile): Effect.Effect<void> =>
  Option.match(fallback, {
    onNone: () => Effect.void,
    onSome: ({ reason }) =>
      Effect.logWarning(`no kernel lock for ${path} (${reason}); its owner record alone keeps others out`)
  })

const isOther = (self: OwnerRecord, record: OwnerRecord): boolean => record.instanceId !== self.instanceId

/** One that serves has been refused by nothing of ours, and will not let go. */
const isServing = (self: OwnerRecord, { record }: LockAttempt.Snapshot): boolean =>
  Option.exists(record, (record) => isOther(self, record) && record.phase === "listening")

/** Somebody may have locked a copy of our own record. */
const takerOf = (self: OwnerRecord, { record }: LockAttempt.Snapshot): Option.Option<OwnerRecord> =>
  Option.filter(record, (record) => isOther(self, record))

const describeTaker = (self: OwnerRecord, snapshot: LockAttempt.Snapshot): string => {
  const other = takerOf(self, snapshot)
  if (Option.isSome(other)) return `another process (pid ${other.value.pid}) holds it now`
  return snapshot.enforcement === "kernel" ? "another process holds it now" : "it names no owner now"
}

/** A lock that is kept: what its steps share. */
interface Kept {
  readonly options: KeepOptions
  readonly platform: string
  readonly context: Context.Context<FileSystem.FileSystem | KernelLock>
  /** One step at a time. */
  readonly mutex: Effect.Semaphore
  /** What is acquired in it is released with the lock. */
  readonly place: Scope.Scope
  readonly present: Ref.Ref<Present>
  /** How many looks in a row have failed to regain the file. */
  readonly failures: Ref.Ref<number>
}

/** Logs a warning, and notes it. */
const warn = ({ options }: Kept, kind: History.Kind, message: string) =>
  Effect.zipRight(Effect.logWarning(message), options.note?.(kind, message) ?? Effect.void)

/** Writes what the file is to say now. */
const writeTo = ({ options }: Kept, file: LockAttempt.HeldFile): Effect.Effect<void, PlatformError> =>
  Effect.flatMap(options.record, (record) => file.write({ ...record, lock: file.enforcement }))

/** Tries once to have the path again. */
const regain = (kept: Kept, moved: string, before: Present): Effect.Effect<void, Taken | Failed> =>
  Effect.gen(function*() {
    const { context, options, place, present } = kept
    const { path } = options
    const record = yield* options.record
    const attempt = LockAttempt.attempt({
      path,
      record: (lock) => ({ ...record, lock }),
      reclaim: Option.none(),
      present: before.file.id
    })
    const { scope, value: result } = yield* Effect.zipRight(LockFolder.ensure(path), attempt).pipe(
      (attempt) => keepIfScoped(attempt, LockAttempt.isMine),
      Scope.extend(place),
      Effect.provide(context),
      Effect.mapError((error) => new Failed(moved, error))
    )
    if (result._tag === "Held") return yield* Effect.fail(new Taken(moved, result.snapshot))
    yield* Ref.set(present, { file: result.file, scope })
    // Only now: while the old file is open, no new one can have its inode number.
    yield* Scope.close(before.scope, Exit.void)
    yield* warn(
      kept,
      "regained",
      Option.isNone(result.file.leftover)
        ? `recreated gateway lock ${path}: ${moved}`
        : `took gateway lock ${path} again: ${moved}`
    )
    if (before.file.enforcement === "kernel") yield* warnOfFallback(result.file)
    yield* Metric.modify(Metrics.lockRecordOnly, recordOnly(result.file) - recordOnly(before.file))
    yield* looked("regained")
  })

/** The path is our file: keeps it young, and whole. */
const keep = (kept: Kept, file: LockAttempt.HeldFile): Effect.Effect<void, PlatformError> =>
  Effect.gen(function*() {
    const { path, record } = kept.options
    const self = yield* record
    const isWhole = Option.exists(yield* file.read, (record) => !isOther(self, record))
    // Makes it young, through the open file: by its path, it could be one that has just been put in its place.
    yield* writeTo(kept, file)
    // Under our kernel lock nobody else had a right to write it, and it would mislead those who go by the record.
    if (!isWhole) yield* warn(kept, "rewritten", `rewrote the record of gateway lock ${path}: it was overwritten`)
    yield* looked("kept")
  })

/** One look, and what can be done at once. Not to be interrupted: what it takes must come to its place. */
const look = (kept: Kept): Effect.Effect<void, Taken | Failed | Unseen> =>
  Effect.gen(function*() {
    const before = yield* Ref.get(kept.present)
    const moved = yield* before.file.check
    if (Option.isNone(moved)) return yield* keep(kept, before.file)
    return yield* regain(kept, moved.value, before)
  }).pipe(
    Effect.mapError((error) => error._tag === "Taken" || error._tag === "Failed" ? error : new Unseen(error)),
    Effect.uninterruptible,
    kept.mutex.withPermits(1)
  )

/** Fails with the loss, and with who has the lock now. */
const lose = ({ options }: Kept, reason: string, taker: Option.Option<OwnerRecord> = Option.none()) =>
  Effect.gen(function*() {
    const holder = Option.isSome(taker) ? { holder: yield* options.holderOf(taker.value) } : {}
    return yield* new LockLost({ path: options.path, reason, ...holder })
  })

/** Looks, and for as long as it may help, again; fails when the lock is lost. */
const recheck = (kept: Kept): Effect.Effect<void, LockLost> =>
  Effect.gen(function*() {
    const { failures, options, platform } = kept
    const { path } = options
    const self = yield* options.record
    yield* look(kept).pipe(
      Effect.retry({
        schedule: Schedule.spaced(Duration.min(options.pollInterval, options.patience)).pipe(
          Schedule.upTo(options.patience)
        ),
        while: (error) =>
          error._tag === "Taken"
            ? !isServing(self, error.snapshot)
            : error._tag === "Failed"
            ? isMomentaryCause(platform, error.error)
            : isMomentary(platform, error.error)
      }),
      Effect.zipRight(Ref.set(failures, 0)),
      Effect.tapError(({ _tag }) => looked(unregained[_tag])),
      Effect.catchTags({
        Taken: ({ moved, snapshot }) =>
          lose(kept, `${moved} and ${describeTaker(self, snapshot)}`, takerOf(self, snapshot)),
        Failed: ({ error, moved }) =>
          Effect.flatMap(Ref.updateAndGet(failures, (n) => n + 1), (count) =>
            count >= maxFailures
              ? lose(kept, `${moved} and cannot be had again: ${error.reason}`)
              : warn(kept, "unavailable", `${moved}: gateway lock ${path} cannot be had again yet: ${error.reason}`)),
        // Only what is certain loses a lock: a folder that cannot be read for a moment does not.
        Unseen: ({ error }) =>
          Effect.logWarning(`could not re-check gateway lock ${path}: ${describePlatformError(error)}`)
      })
    )
  })

/**
 * A start without kernel locks (no addon, another build) that cannot tell whether this holder lives goes by the age of
 * the file, also where the holder has a kernel lock.
 */
const intervalOf = (options: KeepOptions): Duration.Duration =>
  Duration.max(
    shortestInterval,
    Duration.min(options.recheckInterval, Duration.unsafeDivide(options.staleAfter, writesWhileFresh))
  )

/**
 * Takes a lock and keeps it until the scope closes.
 */
export const make = <A extends { readonly file: LockAttempt.HeldFile }, E, R>(
  options: HeldLockOptions<A, E, R>
): Effect.Effect<
  HeldLock<A>,
  E,
  Exclude<R, Scope.Scope> | FileSystem.FileSystem | KernelLock | Scope.Scope
> =>
  Effect.gen(function*() {
    const platform = yield* HostPlatform
    const context = yield* Effect.context<FileSystem.FileSystem | KernelLock>()
    const mutex = yield* Effect.makeSemaphore(1)
    const isReleased = yield* Ref.make(false)
    // A place of its own among what the caller's scope releases, whichever file is in it by then. Not during a step: by the
    // number of a closed file, the rest of the step would change whichever file is opened next.
    const place = yield* Effect.acquireRelease(
      Scope.make(),
      (place, exit) => mutex.withPermits(1)(Effect.zipRight(Ref.set(isReleased, true), Scope.close(place, exit)))
    )
    const scope = yield* Scope.fork(place, ExecutionStrategy.sequential)
    const acquired = yield* Scope.extend(options.acquire, scope)
    const present = yield* Ref.make<Present>({ file: acquired.file, scope })
    const failures = yield* Ref.make(0)
    yield* Effect.acquireRelease(
      Metric.modify(Metrics.lockRecordOnly, recordOnly(acquired.file)),
      () => Effect.flatMap(Ref.get(present), ({ file }) => Metric.modify(Metrics.lockRecordOnly, -recordOnly(file)))
    )

    const kept: Kept = { options, platform, context, mutex, place, present, failures }

    return {
      acquired,
      write: Effect.flatMap(Ref.get(present), ({ file }) => writeTo(kept, file)).pipe(
        Effect.unlessEffect(Ref.get(isReleased)),
        mutex.withPermits(1)
      ),
      watch: Effect.forever(Effect.zipRight(Effect.sleep(intervalOf(options)), recheck(kept)))
    }
  })
