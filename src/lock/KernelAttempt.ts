/**
 * One attempt to acquire a lock file with a kernel lock.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { LockUnavailable } from "../GatewayLockError.ts"
import { type KernelLock, type KernelLockFailed, KernelLockUnsupported } from "../host/KernelLock.ts"
import { isNotFound } from "../internal/describeError.ts"
import { onClose } from "../internal/onClose.ts"
import {
  type Attempt,
  type AttemptOptions,
  claimOptions,
  held,
  heldFile,
  isOurs,
  type Leftover,
  mine
} from "./Attempt.ts"
import * as Claim from "./Claim.ts"
import { createExclusively, removeDraft } from "./DraftFile.ts"
import { Moved, type NamedFiles, open, openExisting, refuseLink, requireRegularFile } from "./NamedFiles.ts"
import type * as OwnerRecord from "./OwnerRecord.ts"
import * as SelfTest from "./SelfTest.ts"
import {
  type Enforcement,
  isSame,
  readRecord,
  type Snapshot,
  touched,
  writeFirstRecord,
  writeRecord
} from "./Snapshot.ts"

type Kernel = KernelLock["Type"]

/**
 * The lock was denied because an inspector held a shared lock on the file for a moment. An inspector is a process that
 * only tests whether a lock is held, as `gateway status` does. Linux could test without locking (`F_OFD_GETLK` of
 * fcntl(2)), but the native addon that makes the locks does not offer that call. Internal to this module.
 */
class Inspected extends Data.TaggedError("Inspected") {}

/**
 * Retries after 1, 2, 4, … 128 milliseconds. The scheduler can preempt an inspector that holds its shared lock. Such an
 * inspector releases the lock within a few of these retries.
 */
const inspectorRetries = Schedule.exponential("1 millis").pipe(Schedule.intersect(Schedule.recurs(8)))

/** Opens the file at a path again. Fails with `Moved` if the path no longer leads to the file with this identity. */
const openAgain = ({ fs, idOf }: NamedFiles, path: string, id: string) =>
  Effect.gen(function*() {
    const second = yield* openExisting(fs, path)
    if ((yield* idOf(second)) !== id) return yield* Effect.fail(new Moved())
    return second
  })

/**
 * Locks a file twice, through two descriptors. If the second lock is granted too, locks keep no process out on this file system,
 * so this effect fails with `KernelLockUnsupported`.
 */
const selfTest = <E, E2>(kernel: Kernel, subject: SelfTest.Subject<E, E2>) =>
  Effect.gen(function*() {
    const verdict = yield* SelfTest.run(kernel, subject)
    if (verdict === "grants everything") {
      return yield* new KernelLockUnsupported({
        where: "filesystem",
        reason: "the file system granted the same lock twice"
      })
    }
  })

/**
 * Tests whether the file system can lock, before the lock file is created. The test uses a draft, which is a temporary
 * file in the same folder. The lock file itself is not suitable: after a failed test it would have to be removed, and
 * by then another start could have taken it.
 */
const ensureLockable = (files: NamedFiles, kernel: Kernel, draft: string, record: OwnerRecord.OwnerRecord) =>
  Effect.scoped(Effect.gen(function*() {
    yield* onClose(removeDraft(files.fs, draft))
    const file = yield* createExclusively(files.fs, draft, "wx+")
    // If this process dies before it removes the draft, the record tells later starts which process left it.
    yield* writeFirstRecord(file, record)
    // No other start uses this name, so the second descriptor is of the same file.
    yield* selfTest(kernel, { lockFirst: kernel.tryLock(file.fd), openSecond: openExisting(files.fs, draft) })
  }))

const openOrCreate = (
  files: NamedFiles,
  kernel: Kernel,
  { isLockable = false, path, record: makeRecord }: AttemptOptions
) =>
  Effect.gen(function*() {
    const { fs } = files
    if (yield* requireRegularFile(fs, path)) {
      const file = yield* open(fs, path, { flag: "r+" }).pipe(
        Effect.asSome,
        Effect.catchIf(isNotFound, () => Effect.succeedNone)
      )
      if (Option.isSome(file)) return { file: file.value, created: false }
    }
    const record = makeRecord("kernel")
    if (!isLockable) yield* ensureLockable(files, kernel, Claim.draftPath(path, record), record)
    // Fails with `Moved` if another process created a file at this path after this one had found none. A symbolic link to a
    // missing file would have the same effect, but `requireRegularFile` has refused links already.
    return { file: yield* createExclusively(fs, path, "wx+"), created: true }
  })

/**
 * Creates the claim on a file that a dead owner left, and runs `takeOver`. Returns `false` without taking over if another start
 * has the claim. A claim is a separate file that only one start can create. Only that start may move the dead owner's file or
 * take it over.
 *
 * The kernel lock alone is not enough, because a start without kernel locks does not see it. Such a start could move the lock
 * file away just after the takeover. Until the file is back, there is no file at the path, and a third start could take the lock.
 */
const whileClaimed = <E>(
  files: NamedFiles,
  options: AttemptOptions,
  left: Snapshot,
  takeOver: Effect.Effect<void, E>
) =>
  Effect.scoped(Effect.gen(function*() {
    const common = claimOptions(files, options, "kernel")
    const claimed = yield* Claim.claim(files.fs, options.path, left, {
      ...common,
      // A start with kernel locks uses a claim only while it holds the lock of the lock file. This start holds that lock
      // now. So a claim whose record names another start with kernel locks is abandoned.
      isAbandoned: (claim) =>
        Option.exists(claim.record, ({ lock }) => lock !== "record")
          ? Effect.succeed(true)
          : common.isAbandoned(claim)
    }).pipe(
      // If the claim cannot be created (for example on a full disk), the kernel lock alone decides. That is enough if
      // all competing starts have kernel locks.
      Effect.orElseSucceed(() => Option.some(true))
    )
    if (Option.isNone(claimed)) return yield* Effect.fail(new Moved())
    if (claimed.value) yield* takeOver
    return claimed.value
  }))

/**
 * Tries to lock a file. The result is `false` if another process holds an exclusive lock on the file. That process is the owner,
 * or a start that was quicker.
 *
 * A refusal can also come from an inspector, which only tests the lock, and holds a shared lock for a moment. So if no lock on
 * the file is exclusive, `tryLock` retries a few times before the result is `false`.
 */
const tryLock = (kernel: Kernel, fd: FileSystem.File.Descriptor) =>
  Effect.flatMap(kernel.tryLock(fd), (granted) =>
    granted
      ? Effect.succeed(true)
      : Effect.flatMap(kernel.isLocked(fd), (locked) => locked ? Effect.succeed(false) : new Inspected())).pipe(
      Effect.retry({ schedule: inspectorRetries, while: ({ _tag }) => _tag === "Inspected" }),
      Effect.catchTag("Inspected", () => Effect.succeed(false))
    )

/**
 * Acquires a lock file with a kernel lock. Fails with `KernelLockUnsupported` if the file system cannot lock. The
 * caller then falls back to record-only mode, in which only the owner record keeps other starts out.
 */
export const withKernelLock = (
  files: NamedFiles,
  kernel: Kernel,
  options: AttemptOptions
): Effect.Effect<
  Attempt,
  PlatformError | LockUnavailable | Moved | KernelLockUnsupported | KernelLockFailed,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const { path } = options
    const { fs, identify, isStill, removeIfStill } = files
    const { created, file } = yield* openOrCreate(files, kernel, options)
    const info = yield* file.stat
    const id = yield* identify(info, file.fd)

    const reportHeld = Effect.gen(function*() {
      const record = yield* readRecord(file, info)
      return held({ record, enforcement: "kernel", fileId: id, ...(yield* touched(info)) })
    })
    if (id === options.present) return yield* reportHeld

    const granted = yield* tryLock(kernel, file.fd).pipe(
      // An attempt creates the file only after a test that locks work in this folder. So if this attempt created the file, the
      // refusal may be temporary. The attempt fails with `Moved`, and the start tries again. The new file stays, because
      // another start may hold it by now. The next attempt finds the file.
      Effect.catchTag("KernelLockUnsupported", (error) => Effect.fail(created ? new Moved() : error))
    )
    if (!granted) return yield* reportHeld
    if (created) {
      // Only now may this attempt remove the file that it created. Earlier, another start could have locked the file, and
      // the finalizer would remove that start's lock file.
      yield* onClose(removeIfStill(path, id))
    } else {
      // Refuse a link before the path is compared with the file. A path that was a link to this file would pass the
      // comparison.
      yield* refuseLink(fs, path)
      if (!(yield* isStill(path, id))) return yield* Effect.fail(new Moved())
      yield* selfTest(kernel, { lockFirst: Effect.succeed(granted), openSecond: openAgain(files, path, id) })
    }

    const left = created ? info : yield* file.stat
    // If the file is empty, this start or a slower one created the file a moment ago, and this start locked it first. So the
    // file is not the leftover of a dead owner.
    const leftover: Option.Option<Leftover> = left.size === FileSystem.Size(0)
      ? Option.none()
      : Option.some({ record: yield* readRecord(file, left), ...(yield* touched(left)) })
    const record = Option.flatMap(leftover, ({ record }) => record)
    const snapshotOf = (enforcement: Enforcement) =>
      Effect.map(touched(left), (touched): Snapshot => ({ record, enforcement, fileId: id, ...touched }))
    // A holder without kernel locks (it lacks the native addon, for example in another container) has only its record.
    // So a free kernel lock does not prove that this holder is dead.
    if (!isOurs(options, record) && Option.exists(record, ({ lock }) => lock === "record")) {
      const snapshot = yield* snapshotOf("record")
      if (!Option.exists(options.reclaim, (judged) => isSame(judged, snapshot))) return held(snapshot)
    }

    const scope = yield* Effect.scope
    const write = Effect.gen(function*() {
      // From here on, a file that a dead owner left belongs to this start, even if the write fails. So the release of
      // this start removes the file.
      if (!created) yield* Scope.addFinalizer(scope, removeIfStill(path, id))
      // Not synced to disk: after a power cut, no process holds this lock, whatever the record says.
      yield* writeRecord(file, options.record("kernel"))
      if (!(yield* isStill(path, id))) return yield* Effect.fail(new Moved())
    })
    if (created || isOurs(options, record)) yield* write
    else {
      const abandoned = yield* snapshotOf("kernel")
      if (!(yield* whileClaimed(files, options, abandoned, write))) return held(abandoned)
    }
    yield* Claim.sweep(fs, path, claimOptions(files, options, "kernel"))
    return mine(heldFile(files, options, file, { id, enforcement: "kernel", fallback: Option.none(), leftover }))
  })
