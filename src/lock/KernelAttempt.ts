/**
 * One attempt to take a lock file with a kernel lock.
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
import { type Attempt, type AttemptOptions, claiming, held, heldFile, isOurs, type Leftover, mine } from "./Attempt.ts"
import * as Claim from "./Claim.ts"
import { createExclusively, removeDraft } from "./DraftFile.ts"
import { insist, Moved, type NamedFiles, open, openExisting, refuseLink } from "./NamedFiles.ts"
import type * as OwnerRecord from "./OwnerRecord.ts"
import * as SelfTest from "./SelfTest.ts"
import { type Enforcement, isSame, readRecord, type Snapshot, touched, writeRecord } from "./Snapshot.ts"

type Kernel = KernelLock["Type"]

/**
 * Denied by one that only asks, and for that takes a shared lock for a moment (fcntl(2) has `F_OFD_GETLK` to ask without, the
 * addon has not). Internal to this module.
 */
class Inspected extends Data.TaggedError("Inspected") {}

/** 1, 2, 4, … 128 milliseconds apart: one that lost its processor in between goes on within a few of them. */
const pastInspectors = Schedule.exponential("1 millis").pipe(Schedule.intersect(Schedule.recurs(8)))

/** A file, and how it is locked: at once, or it has been. */
interface Locking<E> {
  readonly path: string
  readonly id: string
  readonly lock: Effect.Effect<boolean, E>
}

/** Fails with `KernelLockUnsupported` if a second lock of the file is granted. */
const selfTest = <E>({ fs, idOf }: NamedFiles, kernel: Kernel, { id, lock, path }: Locking<E>) =>
  Effect.gen(function*() {
    const openSecond = Effect.gen(function*() {
      const second = yield* openExisting(fs, path)
      if ((yield* idOf(second)) !== id) return yield* Effect.fail(new Moved())
      return second
    })
    const verdict = yield* SelfTest.run(kernel, { lockFirst: lock, openSecond })
    if (verdict === "grants everything") {
      return yield* new KernelLockUnsupported({
        where: "filesystem",
        reason: "the file system granted the same lock twice"
      })
    }
  })

/**
 * Asked of a file of our own, before the lock file is made: one that cannot be locked after all would have to be removed
 * again, and by then it could be another starter's.
 */
const ensureLockable = (files: NamedFiles, kernel: Kernel, draft: string, record: OwnerRecord.OwnerRecord) =>
  Effect.scoped(Effect.gen(function*() {
    yield* Effect.addFinalizer(() => removeDraft(files.fs, draft))
    const file = yield* createExclusively(files.fs, draft, "wx+")
    // Who finds it, should we not live to remove it, can tell whose it was.
    yield* writeRecord(file, record)
    const id = yield* files.idOf(file)
    yield* selfTest(files, kernel, { path: draft, id, lock: kernel.tryLock(file.fd) })
  }))

const openOrCreate = (
  files: NamedFiles,
  kernel: Kernel,
  { isLockable = false, path, record: makeRecord }: AttemptOptions
) => {
  const record = makeRecord("kernel")
  return open(files.fs, path, { flag: "r+" }).pipe(
    Effect.map((file) => ({ file, created: false })),
    Effect.catchIf(isNotFound, () =>
      Effect.zipRight(
        isLockable ? Effect.void : ensureLockable(files, kernel, Claim.draftPath(path, record), record),
        // `Moved`: somebody created it in between, or it is a dangling link, which `insist` has refused.
        Effect.map(createExclusively(files.fs, path, "wx+"), (file) => ({ file, created: true }))
      ))
  )
}

/**
 * A start without kernel locks may be about to move a dead owner's file away. Without the name for a moment, a file that
 * was taken over in place meanwhile would not keep a third start out. `false`: it is at it.
 */
const whileClaimed = <E>(
  files: NamedFiles,
  options: AttemptOptions,
  left: Snapshot,
  takeOver: Effect.Effect<void, E>
) =>
  Effect.scoped(Effect.gen(function*() {
    const common = claiming(files, options, "kernel")
    const claimed = yield* Claim.claim(files.fs, options.path, left, {
      ...common,
      // A starter of our kind has a claim only while it has the kernel lock, and that is ours.
      isAbandoned: (claim) =>
        Option.exists(claim.record, ({ lock }) => lock !== "record")
          ? Effect.succeed(true)
          : common.isAbandoned(claim)
    }).pipe(
      // No room for a claim (a full disk): the kernel lock alone, as without such starts it is enough.
      Effect.orElseSucceed(() => Option.some(true))
    )
    if (Option.isNone(claimed)) return yield* Effect.fail(new Moved())
    if (claimed.value) yield* takeOver
    return claimed.value
  }))

/** `false` where an owner has the lock, or a start that is quicker; at once, since both have it for themselves. */
const tryLock = (kernel: Kernel, fd: FileSystem.File.Descriptor) =>
  Effect.flatMap(kernel.tryLock(fd), (granted) =>
    granted
      ? Effect.succeed(true)
      : Effect.flatMap(kernel.isLocked(fd), (locked) => locked ? Effect.succeed(false) : new Inspected())).pipe(
      Effect.retry({ schedule: pastInspectors, while: ({ _tag }) => _tag === "Inspected" }),
      Effect.catchTag("Inspected", () => Effect.succeed(false))
    )

/** Fails with `KernelLockUnsupported` where the file system cannot lock, so that only the record is left. */
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
    yield* insist(fs, path)
    const { created, file } = yield* openOrCreate(files, kernel, options)
    const info = yield* file.stat
    const id = yield* identify(info, file.fd)

    const seen = Effect.gen(function*() {
      const record = yield* readRecord(file, info)
      return held({ record, enforcement: "kernel", fileId: id, ...(yield* touched(info)) })
    })
    if (id === options.present) return yield* seen

    const granted = yield* tryLock(kernel, file.fd).pipe(
      // A moment ago there were locks. What we made may be another's by now, and stays; the next attempt just finds it.
      Effect.catchTag("KernelLockUnsupported", (error) => Effect.fail(created ? new Moved() : error))
    )
    if (!granted) return yield* seen
    // Before the name is compared: while it was a link, it led to this file as well.
    if (!created) yield* refuseLink(fs, path)
    if (!(yield* isStill(path, id))) return yield* Effect.fail(new Moved())
    // Only now: before, somebody else may have locked what we created, and it would be theirs that we remove.
    if (created) yield* Effect.addFinalizer(() => removeIfStill(path, id))
    if (!created) yield* selfTest(files, kernel, { path, id, lock: Effect.succeed(granted) })

    const left = yield* file.stat
    // An empty file was made a moment ago, by a starter that we were quicker than.
    const leftover: Option.Option<Leftover> = created || left.size === FileSystem.Size(0)
      ? Option.none()
      : Option.some({ record: yield* readRecord(file, left), ...(yield* touched(left)) })
    const record = Option.flatMap(leftover, ({ record }) => record)
    const snapshotOf = (enforcement: Enforcement) =>
      Effect.map(touched(left), (touched): Snapshot => ({ record, enforcement, fileId: id, ...touched }))
    // A holder without kernel locks (another build, another container) leaves this one free while it lives.
    if (!isOurs(options, record) && Option.exists(record, ({ lock }) => lock === "record")) {
      const snapshot = yield* snapshotOf("record")
      if (!Option.exists(options.reclaim, (judged) => isSame(judged, snapshot))) return held(snapshot)
    }

    const scope = yield* Effect.scope
    const write = Effect.gen(function*() {
      // From here on a leftover is ours too, whatever happens: release removes it.
      if (!created) yield* Scope.addFinalizer(scope, removeIfStill(path, id))
      yield* writeRecord(file, options.record("kernel"))
      yield* file.sync
      if (!(yield* isStill(path, id))) return yield* Effect.fail(new Moved())
    })
    if (created || isOurs(options, record)) yield* write
    else {
      const abandoned = yield* snapshotOf("kernel")
      if (!(yield* whileClaimed(files, options, abandoned, write))) return held(abandoned)
    }
    yield* Claim.sweep(fs, path, claiming(files, options, "kernel"))
    return mine(heldFile(files, options, file, { id, enforcement: "kernel", fallback: Option.none(), leftover }))
  })
