/**
 * Keeps a lock file after it was acquired. Checks at an interval that the path still leads to the held file, and
 * restores the file if not. A gateway holds two such locks, one for its config and one for its state directory.
 *
 * Operators, sync tools and cleaners of temporary folders remove and replace lock files. While the path does not lead
 * to the held file, another gateway that starts can lock a new file at the path. A check has these results:
 *
 *     the path leads to the held file  → write the record again, so that the file is complete and not old
 *     the path is missing, or leads to another file
 *                                      → make the folder, and attempt to lock the path as a starting gateway does:
 *       Mine   → the attempt locked the path: hold the new file from now on, and close the old one
 *       Held   → another process holds the file at the path. If it serves, the lock is lost. Otherwise it may be a
 *                starting gateway that fails soon, because this holder has the other lock and the port. So retry for
 *                as long as a start waits for a lock. Then the lock is lost
 *       failed → the failure does not tell which process has the lock: warn, keep serving, attempt again at the next
 *                check. After `maxFailures` failures in a row the lock is lost
 *
 * The attempt creates the file exclusively, locks it, and compares it with the path. So it is as safe to re-acquire a
 * file as to acquire it. Without a kernel lock, only the record shows which gateway holds the lock. If the file has the
 * record of another owner, the file belongs to that owner. If it has a copy of the holder's record, it belongs to the
 * holder.
 *
 * A mutex lets one check or write run at a time, so a record is always written to the file that is held at that moment.
 * A release first interrupts the watch, which runs the checks. Then it waits for the running check or write, and releases
 * the file that is held by then.
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
import { acquire } from "../internal/onClose.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import type * as History from "./History.ts"
import * as LockAttempt from "./LockAttempt.ts"
import * as LockFolder from "./LockFolder.ts"
import type { OwnerRecord } from "./OwnerRecord.ts"

/** Options for keeping a lock. */
interface KeepOptions {
  readonly path: string
  /** The record that the lock file must contain at present. */
  readonly record: Effect.Effect<OwnerRecord>
  /** The holder that a record names. `LockLost` reports it as the new owner of the lock. */
  readonly holderOf: (record: OwnerRecord) => Effect.Effect<Holder>
  /**
   * The longest time between two checks. A check compares the file at the path with the file that the holder holds. The time is
   * shorter if three checks would not fit into `staleAfter`.
   */
  readonly recheckInterval: Duration.Duration
  /**
   * The age of a lock file at which another start may count the file as stale. A start does so if it cannot read the
   * record, or cannot tell whether the recorded owner is alive. So the holder writes to its file before it is that old.
   */
  readonly staleAfter: Duration.Duration
  /** How long another process may hold the file at the path before this holder counts the lock as lost. */
  readonly patience: Duration.Duration
  /** The time between two retries within `patience`. */
  readonly pollInterval: Duration.Duration
  /** Whether the file that was acquired first stays locked until the release, even if another file takes its place. */
  readonly keepsFirst?: boolean
  /** Adds a logged message to the history. */
  readonly note?: History.History["note"]
}

/** Options for acquiring and keeping a lock. */
export interface HeldLockOptions<A, E, R> extends KeepOptions {
  /** Acquires the lock for the first time. Waits for the lock for as long as a start may wait. */
  readonly acquire: Effect.Effect<A, E, R>
}

/**
 * A lock that is held until the scope closes. The held file can change during that time: if it is removed or replaced, the
 * holder acquires a new file at the path.
 */
export interface HeldLock<A> {
  /** The result of the first acquisition. */
  readonly acquired: A
  /** Writes the current record into the held file. */
  readonly write: Effect.Effect<void, PlatformError>
  /** Runs an effect with the descriptor of the held file, which stays open until the effect has ended. */
  readonly withDescriptor: <A, E, R>(
    use: (descriptor: FileSystem.File.Descriptor) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, R>
  /** Checks the file at an interval. Never succeeds; fails when the lock is lost. */
  readonly watch: Effect.Effect<never, LockLost>
}

/** The file that is held now, and the scope that releases it. */
interface Present {
  readonly file: LockAttempt.HeldFile
  readonly scope: Scope.CloseableScope
}

/** The held file was removed or replaced, as `moved` says, and another process holds the file at its path. Internal to this module. */
class Taken {
  readonly _tag = "Taken"
  readonly moved: string
  readonly snapshot: LockAttempt.Snapshot
  constructor(moved: string, snapshot: LockAttempt.Snapshot) {
    this.moved = moved
    this.snapshot = snapshot
  }
}

/** The held file was removed or replaced, as `moved` says, and the attempt to lock its path again failed. Internal to this module. */
class Failed {
  readonly _tag = "Failed"
  readonly moved: string
  readonly error: LockUnavailable
  constructor(moved: string, error: LockUnavailable) {
    this.moved = moved
    this.error = error
  }
}

/** The check itself failed, so it is unknown whether the path still leads to the held file. Internal to this module. */
class Unseen {
  readonly _tag = "Unseen"
  readonly error: PlatformError
  constructor(error: PlatformError) {
    this.error = error
  }
}

const failureLabels = { Taken: "taken", Failed: "failed", Unseen: "unseen" } as const

/**
 * After this number of checks in a row that fail to re-acquire a removed or replaced file, the lock counts as lost. By
 * default a check runs every 10 seconds, so this takes about 100 seconds.
 */
export const maxFailures = 10

const recordOnly = ({ enforcement }: LockAttempt.HeldFile): number => enforcement === "record" ? 1 : 0

const countRecheck = (result: Metrics.LockRecheckResult): Effect.Effect<void> =>
  Metric.increment(Metric.tagged(Metrics.lockRecheckTotal, "result", result))

/**
 * The number of checks that fit into `staleAfter`. Each check writes the record again, so that the file does not look
 * stale. With three checks, the file stays fresh even if one of them is late.
 */
const writesWhileFresh = 3

/**
 * The shortest time between two checks. Without it, a `staleAfter` of zero would make the watch loop without a pause.
 */
const shortestInterval = Duration.millis(10)

/** Logs a warning if only the record enforces the lock. */
export const warnOfFallback = ({ fallback, path }: LockAttempt.HeldFile): Effect.Effect<void> =>
  Option.match(fallback, {
    onNone: () => Effect.void,
    onSome: ({ reason }) =>
      Effect.logWarning(`no kernel lock for ${path} (${reason}); only its owner record enforces the lock`)
  })

const isOther = (self: OwnerRecord, record: OwnerRecord): boolean => record.instanceId !== self.instanceId

/**
 * Whether the record in the file names another gateway, and says that this other gateway already serves. A gateway that
 * serves keeps its lock file until it shuts down, so a retry is useless.
 */
const isServing = (self: OwnerRecord, { record }: LockAttempt.Snapshot): boolean =>
  Option.exists(record, (record) => isOther(self, record) && record.phase === "listening")

/**
 * The record in the file that another process has locked, if the record names another owner. `None` if it names this
 * holder: the other process can have locked a copy of the held file, and the copy has this holder's record.
 */
const takerOf = (self: OwnerRecord, { record }: LockAttempt.Snapshot): Option.Option<OwnerRecord> =>
  Option.filter(record, (record) => isOther(self, record))

const describeTaker = (self: OwnerRecord, snapshot: LockAttempt.Snapshot): string => {
  const other = takerOf(self, snapshot)
  if (Option.isSome(other)) return `another process (pid ${other.value.pid}) holds it now`
  return snapshot.enforcement === "kernel" ? "another process holds it now" : "its record names no owner now"
}

/** The state that the checks, the writes and the release of one lock share. */
interface Kept {
  readonly options: KeepOptions
  readonly platform: string
  readonly context: Context.Context<FileSystem.FileSystem | KernelLock>
  /** Lets one check, write or release run at a time. */
  readonly mutex: Effect.Semaphore
  /** Files that are acquired in this scope are released with the lock. */
  readonly lockScope: Scope.Scope
  readonly present: Ref.Ref<Present>
  /** The file that was acquired first. */
  readonly first: LockAttempt.HeldFile
  /** The number of checks in a row that failed to re-acquire the file. */
  readonly failures: Ref.Ref<number>
}

/** Logs a warning and adds it to the history. */
const warn = ({ options }: Kept, kind: History.Kind, message: string) =>
  Effect.zipRight(Effect.logWarning(message), options.note?.(kind, message) ?? Effect.void)

/** Writes the current record into a file. */
const writeTo = ({ options }: Kept, file: LockAttempt.HeldFile): Effect.Effect<void, PlatformError> =>
  Effect.flatMap(options.record, (record) => file.write({ ...record, lock: file.enforcement }))

/** Makes one attempt to lock a file at the path again, after the held file was removed or replaced. */
const regain = (kept: Kept, moved: string, before: Present): Effect.Effect<void, Taken | Failed> =>
  Effect.gen(function*() {
    const { context, options, lockScope, present } = kept
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
      Scope.extend(lockScope),
      Effect.provide(context),
      Effect.mapError((error) => new Failed(moved, error))
    )
    if (result._tag === "Held") return yield* Effect.fail(new Taken(moved, result.snapshot))
    yield* Ref.set(present, { file: result.file, scope })
    // The old file is closed only now. While the old file is open, the file system cannot give its inode number to a
    // new file. So a new file cannot be mistaken for the old one.
    // The first file stays open in `lockScope` if the options say so.
    if (options.keepsFirst !== true || before.file !== kept.first) yield* Scope.close(before.scope, Exit.void)
    yield* warn(
      kept,
      "regained",
      Option.isNone(result.file.leftover)
        ? `recreated gateway lock ${path}: ${moved}`
        : `re-acquired gateway lock ${path}: ${moved}`
    )
    if (before.file.enforcement === "kernel") yield* warnOfFallback(result.file)
    yield* Metric.modify(Metrics.lockRecordOnly, recordOnly(result.file) - recordOnly(before.file))
    yield* countRecheck("regained")
  })

/** Runs if the path leads to the held file. Writes the record again, so that the file is complete and does not look stale. */
const keep = (kept: Kept, file: LockAttempt.HeldFile): Effect.Effect<void, PlatformError> =>
  Effect.gen(function*() {
    const { path, record } = kept.options
    const self = yield* record
    const isWhole = Option.exists(yield* file.read, (record) => !isOther(self, record))
    // Write through the open descriptor, which also renews the file's modification time. A write by path could change a
    // file that another program has just put at the path.
    yield* writeTo(kept, file)
    // Only the holder may write the record, so another program has overwritten it. A warning tells the operator, because
    // readers of the wrong record were misled until now.
    if (!isWhole) yield* warn(kept, "rewritten", `rewrote the record of gateway lock ${path}: it was overwritten`)
    yield* countRecheck("kept")
  })

/**
 * Checks once, and keeps or re-acquires the file. An interruption between the acquisition of a new file and its storage
 * in `present` would lose that file for `write` and for the next check. So this effect is uninterruptible.
 */
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

/** Fails with `LockLost`, which has the reason and, if known, the new holder. */
const lose = ({ options }: Kept, reason: string, taker: Option.Option<OwnerRecord> = Option.none()) =>
  Effect.gen(function*() {
    const holder = Option.isSome(taker) ? { holder: yield* options.holderOf(taker.value) } : {}
    return yield* new LockLost({ path: options.path, reason, ...holder })
  })

/** Checks the file, and retries while a retry can help. Fails when the lock is lost. */
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
      Effect.tapError(({ _tag }) => countRecheck(failureLabels[_tag])),
      Effect.catchTags({
        Taken: ({ moved, snapshot }) =>
          lose(kept, `${moved} and ${describeTaker(self, snapshot)}`, takerOf(self, snapshot)),
        Failed: ({ error, moved }) =>
          Effect.flatMap(Ref.updateAndGet(failures, (n) => n + 1), (count) =>
            count >= maxFailures
              ? lose(kept, `${moved} and could not be re-acquired: ${error.reason}`)
              : warn(kept, "unavailable", `${moved}: could not re-acquire gateway lock ${path} yet: ${error.reason}`)),
        // `Unseen` means that the check itself failed, for example because a folder is unreadable for a moment. So it is
        // unknown whether the lock is lost. The next check tries again.
        Unseen: ({ error }) =>
          Effect.logWarning(`could not re-check gateway lock ${path}: ${describePlatformError(error)}`)
      })
    )
  })

/**
 * The time between two checks. It depends on `staleAfter` even if this holder has a kernel lock, because another start
 * may run without kernel locks (without the addon that makes them). If that start cannot tell whether this holder is
 * alive, it judges the lock by the age of the file. Each check writes the file and so makes its age zero.
 */
const intervalOf = (options: KeepOptions): Duration.Duration =>
  Duration.max(
    shortestInterval,
    Duration.min(options.recheckInterval, Duration.unsafeDivide(options.staleAfter, writesWhileFresh))
  )

/**
 * Acquires a lock and keeps it until the scope closes.
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
    // All files of this lock have one scope. So a file that is acquired later is released at the same point of the
    // caller's scope as the first one. The release waits for the running check or write, which could otherwise use a
    // descriptor number that is closed, or that belongs to another file by then.
    const lockScope = yield* acquire(
      Scope.make(),
      (lockScope, exit) =>
        mutex.withPermits(1)(Effect.zipRight(Ref.set(isReleased, true), Scope.close(lockScope, exit)))
    )
    const scope = yield* Scope.fork(lockScope, ExecutionStrategy.sequential)
    const acquired = yield* Scope.extend(options.acquire, scope)
    const present = yield* Ref.make<Present>({ file: acquired.file, scope })
    const failures = yield* Ref.make(0)
    yield* acquire(
      Metric.modify(Metrics.lockRecordOnly, recordOnly(acquired.file)),
      () => Effect.flatMap(Ref.get(present), ({ file }) => Metric.modify(Metrics.lockRecordOnly, -recordOnly(file)))
    )

    const kept: Kept = { options, platform, context, mutex, lockScope, present, first: acquired.file, failures }

    return {
      acquired,
      write: Effect.flatMap(Ref.get(present), ({ file }) => writeTo(kept, file)).pipe(
        Effect.unlessEffect(Ref.get(isReleased)),
        mutex.withPermits(1)
      ),
      withDescriptor: (use) =>
        mutex.withPermits(1)(Effect.flatMap(Ref.get(present), ({ file }) => use(file.descriptor))),
      watch: Effect.forever(Effect.zipRight(Effect.sleep(intervalOf(options)), recheck(kept)))
    }
  })
