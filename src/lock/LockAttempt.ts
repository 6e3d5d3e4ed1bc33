/**
 * One attempt, without waiting, to take one lock file.
 *
 * With a kernel lock:
 *
 *     open (create, 0600) → try the kernel lock
 *       denied  → by one that only asks?  yes → soon again;  no → read the record → Held
 *       granted → is the path still this file?  no → close, again
 *               → is a second lock refused?     no → this file system cannot lock: record only
 *               → read what was left; claim it, as those without kernel locks do; write my record, sync
 *               → is the path still this file?  no → close, again → Mine
 *     release: if the path is still this file, unlink while holding; then close
 *
 * Unlinking while holding and comparing after locking belong together. Whoever opened the file before
 * it was unlinked gets the lock of a file without a name; the comparison tells it so. Without the one, a
 * newcomer's file could be unlinked; without the other, two could hold locks on two files of one name.
 *
 * Record only: the file is created exclusively; a stale one is renamed aside, by one starter at a time (`Claim`), and
 * looked at again: somebody with a kernel lock may have taken it in between, and what was moved by mistake is put back.
 * A file that names this very instance is a copy of ours, made while we held it, and is taken as it is.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { LockUnavailable } from "../GatewayLockError.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import { KernelLock, KernelLockUnsupported } from "../host/KernelLock.ts"
import { isMomentary, patientFiles } from "../host/momentary.ts"
import * as NativeFiles from "../host/NativeFiles.ts"
import {
  describeDefect,
  describePlatformError,
  hasNoLinks,
  isAlreadyExists,
  isNotFound
} from "../internal/describeError.ts"
import * as Claim from "./Claim.ts"
import type * as OwnerRecord from "./OwnerRecord.ts"
import {
  type Enforcement,
  isSame,
  linkTarget,
  readOpen,
  readRecord,
  type Snapshot,
  touched,
  writeRecord
} from "./Snapshot.ts"

export type { Enforcement, Snapshot }

/** What was found in a lock file that nobody held any more. */
export type Leftover = Pick<Snapshot, "record" | "age" | "isAhead">

/** A lock file that is ours until the scope closes. */
export interface HeldFile {
  readonly path: string
  /** Which file this is: device and inode. */
  readonly id: string
  readonly enforcement: Enforcement
  /** Why there is no kernel lock. */
  readonly fallback: Option.Option<KernelLockUnsupported>
  readonly leftover: Option.Option<Leftover>
  /**
   * Rewrites the record in place; where only the record keeps others out, not one that names another. One at a time with
   * `read` and `check`: they share a position in the file.
   */
  readonly write: (record: OwnerRecord.OwnerRecord) => Effect.Effect<void, PlatformError>
  /** The record, if there is a readable one. */
  readonly read: Effect.Effect<Option.Option<OwnerRecord.OwnerRecord>, PlatformError>
  /** `None` while the path is still this file and, where only the record keeps others out, names us; else what became of it. */
  readonly check: Effect.Effect<Option.Option<string>, PlatformError>
}

export type Attempt =
  | { readonly _tag: "Mine"; readonly file: HeldFile }
  | { readonly _tag: "Held"; readonly snapshot: Snapshot }

export interface AttemptOptions {
  readonly path: string
  readonly record: (enforcement: Enforcement) => OwnerRecord.OwnerRecord
  /** A snapshot that was judged stale: exactly that file, with that record, may be taken. */
  readonly reclaim: Option.Option<Snapshot>
  /** Whether another starter that began to reclaim, and left its claim, is dead as far as can be told. Default: never. */
  readonly isAbandoned?: ((claim: Snapshot) => Effect.Effect<boolean>) | undefined
  /** The file that this instance has already, under whatever name: never taken a second time. */
  readonly present?: string | undefined
  /** This instance has just locked another file of this folder: nothing needs to be asked of a draft. Default `false`. */
  readonly isLockable?: boolean | undefined
}

/** Another process changed the path between two steps; start over. Never leaves this module. */
class Moved {
  readonly _tag = "Moved"
}

/**
 * Denied by one that only asks, and for that takes a shared lock for a moment (fcntl(2) has `F_OFD_GETLK` to ask without, the
 * addon has not). Never leaves this module.
 */
class Inspected extends Data.TaggedError("Inspected") {}

/** 1, 2, 4, … 128 milliseconds apart: one that lost its processor in between goes on within a few of them. */
const pastInspectors = Schedule.exponential("1 millis").pipe(Schedule.intersect(Schedule.recurs(8)))

type Sync = FileSystem.File["sync"]

/** How often one attempt starts over: each time, some other process has taken a step. */
const maxRestarts = 32

const leftoverOf = ({ age, isAhead, record }: Snapshot): Leftover => ({
  record,
  age,
  ...(isAhead === undefined ? {} : { isAhead })
})

const held = (snapshot: Snapshot): Attempt => ({ _tag: "Held", snapshot })
const mine = (file: HeldFile): Attempt => ({ _tag: "Mine", file })

/** Ids are new for every acquisition: who finds its own has held this lock all along. */
const isOurs = (options: AttemptOptions, record: Option.Option<OwnerRecord.OwnerRecord>): boolean =>
  Option.exists(record, ({ instanceId }) => instanceId === options.record("record").instanceId)

const isMissing = (error: PlatformError | LockUnavailable): boolean =>
  error._tag !== "LockUnavailable" && isNotFound(error)

const refuse = (path: string, reason: string) => new LockUnavailable({ path, reason })

/** Closes at once what an attempt opened, unless it succeeded. */
const keepOnlyIfMine = <E, R>(self: Effect.Effect<Attempt, E, R | Scope.Scope>) =>
  Effect.gen(function*() {
    const outer = yield* Effect.scope
    const inner = yield* Scope.fork(outer, ExecutionStrategy.sequential)
    const exit = yield* Effect.exit(Scope.extend(self, inner))
    if (Exit.isFailure(exit) || exit.value._tag === "Held") yield* Scope.close(inner, exit)
    return yield* exit
  })

/** For how long a release tries to remove a file that it is not let remove: less than a release may take. */
const removal = Schedule.spaced("100 millis").pipe(Schedule.upTo("2 seconds"))

const make = Effect.gen(function*() {
  const fs = yield* patientFiles
  const platform = yield* HostPlatform
  const identify = yield* NativeFiles.identify
  const kernel = yield* KernelLock

  const idOf = (file: FileSystem.File): Effect.Effect<string, PlatformError> =>
    Effect.flatMap(file.stat, (info) => identify(info, file.fd))

  /** A file is done with once it is closed, whatever close(2) answers (`EIO`, `EDQUOT`): that is told, and no more. */
  const open = (path: string, options: FileSystem.OpenFileOptions) =>
    Effect.flatMap(Scope.make(), (own) =>
      Effect.acquireRelease(
        Scope.extend(fs.open(path, options), own),
        (_, exit) =>
          Effect.catchAllDefect(Scope.close(own, exit), (defect) =>
            Effect.logWarning(`could not close gateway lock ${path}: ${describeDefect(defect)}`))
      ))

  const statPath = (path: string): Effect.Effect<Option.Option<FileSystem.File.Info>, PlatformError> =>
    fs.stat(path).pipe(
      Effect.asSome,
      Effect.catchIf(isNotFound, () => Effect.succeedNone)
    )

  const idAt = (path: string): Effect.Effect<Option.Option<string>, PlatformError> =>
    Effect.flatMap(fs.stat(path), (info) => identify(info, path)).pipe(
      Effect.asSome,
      Effect.catchIf(isNotFound, () => Effect.succeedNone)
    )

  const isStill = (path: string, id: string): Effect.Effect<boolean, PlatformError> =>
    Effect.map(idAt(path), Option.contains(id))

  const heldFile = (
    options: AttemptOptions,
    file: FileSystem.File,
    id: string,
    enforcement: Enforcement,
    fallback: Option.Option<KernelLockUnsupported>,
    leftover: Option.Option<Leftover>
  ): HeldFile => ({
    path: options.path,
    id,
    enforcement,
    fallback,
    leftover,
    // Without a kernel lock the record is the lock: a file that names another is another's, and is left to it. The next
    // `check` finds that out.
    write: (record) =>
      enforcement === "kernel"
        ? writeRecord(file, record)
        : Effect.flatMap(readOpen(file), (found) => isOurs(options, found) ? writeRecord(file, record) : Effect.void),
    read: readOpen(file),
    check: Effect.gen(function*() {
      const now = yield* idAt(options.path)
      if (Option.isNone(now)) return Option.some("the file was removed")
      if (now.value !== id) return Option.some("the file was replaced")
      // One with a kernel lock that judged our record stale has written its own into our file.
      if (enforcement === "record" && !isOurs(options, yield* readOpen(file))) {
        return Option.some("the file was overwritten")
      }
      return Option.none()
    })
  })

  const refuseLink = (path: string): Effect.Effect<void, LockUnavailable> =>
    Effect.flatMap(
      linkTarget(fs, path),
      (link) => Option.isSome(link) ? refuse(path, `it is a symbolic link to ${link.value}`) : Effect.void
    )

  /** Only a regular file under its own name is a lock file: opening anything else can block or hit a stranger's file. */
  const insist = (path: string): Effect.Effect<void, PlatformError | LockUnavailable> =>
    Effect.gen(function*() {
      yield* refuseLink(path)
      const info = yield* statPath(path)
      if (Option.isSome(info) && info.value.type !== "File") {
        return yield* refuse(path, `it is not a regular file but a ${info.value.type.toLowerCase()}`)
      }
    })

  const removeIf = (path: string, condition: Effect.Effect<boolean, PlatformError>): Effect.Effect<void> =>
    condition.pipe(
      Effect.flatMap((holds) => holds ? fs.remove(path) : Effect.void),
      Effect.retry({ schedule: removal, while: (error) => isMomentary(platform, error) }),
      Effect.catchAll((error) =>
        isNotFound(error)
          ? Effect.void
          : Effect.logWarning(`could not remove gateway lock ${path}: ${describePlatformError(error)}`)
      )
    )

  const removeIfStill = (path: string, id: string) => removeIf(path, isStill(path, id))

  const look = (path: string): Effect.Effect<Option.Option<Snapshot>, PlatformError | LockUnavailable> =>
    Effect.scoped(Effect.gen(function*() {
      yield* insist(path)
      const file = yield* open(path, { flag: "r" })
      const info = yield* file.stat
      yield* refuseLink(path)
      return Option.some<Snapshot>({
        record: yield* readRecord(file, info),
        enforcement: "record",
        fileId: yield* identify(info, file.fd),
        ...(yield* touched(info))
      })
    })).pipe(Effect.catchIf(isMissing, () => Effect.succeedNone))

  const createExclusively = (path: string, flag: "wx" | "wx+") =>
    open(path, { flag, mode: 0o600 }).pipe(Effect.catchIf(isAlreadyExists, () => Effect.fail(new Moved())))

  /** Also one of an earlier attempt, if it is there. */
  const removeDraft = (draft: string) =>
    Effect.ignore(Effect.retry(fs.remove(draft), { times: 1, while: (error) => !isNotFound(error) }))

  /**
   * Creates a file with its record in it, in one step: a lock file that is empty for a moment would be taken by a starter with
   * a kernel lock, which must take an empty file for that of a slower one of its own kind; and of an empty claim, which a
   * killed starter left, no reader could tell whose it was.
   */
  const create = (path: string, record: OwnerRecord.OwnerRecord, finish: (file: FileSystem.File) => Sync) => {
    const draft = Claim.draftPath(path, record)
    const write = (path: string) =>
      Effect.scoped(
        Effect.flatMap(createExclusively(path, "wx"), (file) =>
          writeRecord(file, record).pipe(
            Effect.zipRight(finish(file)),
            Effect.zipRight(idOf(file)),
            // Made exclusively a moment ago, and in everybody's way until it is stale.
            Effect.tapError(() => Effect.ignore(fs.remove(path)))
          ))
      )
    const link = fs.link(draft, path).pipe(
      // A draft can be swept away while it is empty.
      Effect.catchIf((error) => isAlreadyExists(error) || isNotFound(error), () => Effect.fail(new Moved()))
    )
    return Effect.zipLeft(write(draft), link).pipe(
      Effect.ensuring(removeDraft(draft)),
      // Without hard links, as well as can be.
      Effect.catchAll((error) => error._tag !== "Moved" && hasNoLinks(error) ? write(path) : Effect.fail(error))
    )
  }

  const claiming = (options: AttemptOptions, enforcement: Enforcement): Claim.ClaimOptions => ({
    look,
    create: (path) =>
      // Not synced: a power cut ends every process that it could matter to.
      create(path, options.record(enforcement), () => Effect.void).pipe(
        Effect.as(true),
        Effect.catchTag("Moved", () => Effect.succeed(false))
      ),
    isAbandoned: options.isAbandoned ?? (() => Effect.succeed(false))
  })

  // -------------------------------------------------------------------------
  // with a kernel lock
  // -------------------------------------------------------------------------

  const openExisting = (path: string) =>
    open(path, { flag: "r+" }).pipe(Effect.catchIf(isNotFound, () => Effect.fail(new Moved())))

  /** A file system that grants one lock twice (seen with overlays, proxies and strace) has no locks. */
  const selfTest = (path: string, id: string) =>
    Effect.scoped(Effect.gen(function*() {
      const second = yield* openExisting(path)
      if ((yield* idOf(second)) !== id) return yield* Effect.fail(new Moved())
      if (yield* kernel.tryLock(second.fd)) {
        return yield* new KernelLockUnsupported({
          where: "filesystem",
          reason: "the file system granted the same lock twice"
        })
      }
    }))

  /**
   * Asked of a file of our own, before the lock file is made: one that cannot be locked after all would have to be removed
   * again, and by then it could be another starter's.
   */
  const ensureLockable = (draft: string, record: OwnerRecord.OwnerRecord) =>
    Effect.scoped(Effect.gen(function*() {
      yield* Effect.addFinalizer(() => removeDraft(draft))
      const file = yield* createExclusively(draft, "wx+")
      // Who finds it, should we not live to remove it, can tell whose it was.
      yield* writeRecord(file, record)
      yield* kernel.tryLock(file.fd)
      yield* selfTest(draft, yield* idOf(file))
    }))

  const openOrCreate = ({ isLockable = false, path, record: makeRecord }: AttemptOptions) => {
    const record = makeRecord("kernel")
    return open(path, { flag: "r+" }).pipe(
      Effect.map((file) => ({ file, created: false })),
      Effect.catchIf(isNotFound, () =>
        Effect.zipRight(
          isLockable ? Effect.void : ensureLockable(Claim.draftPath(path, record), record),
          // `Moved`: somebody created it in between, or it is a dangling link, which `insist` has refused.
          Effect.map(createExclusively(path, "wx+"), (file) => ({ file, created: true }))
        ))
    )
  }

  /**
   * A start without kernel locks may be about to move a dead owner's file away. Without the name for a moment, a file that
   * was taken over in place meanwhile would not keep a third start out. `false`: it is at it.
   */
  const whileClaimed = <E>(options: AttemptOptions, left: Snapshot, takeOver: Effect.Effect<void, E>) =>
    Effect.scoped(Effect.gen(function*() {
      const common = claiming(options, "kernel")
      const claimed = yield* Claim.claim(fs, options.path, left, {
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
  const tryLock = (fd: FileSystem.File.Descriptor) =>
    Effect.flatMap(kernel.tryLock(fd), (granted) =>
      granted
        ? Effect.succeed(true)
        : Effect.flatMap(kernel.isLocked(fd), (locked) => locked ? Effect.succeed(false) : new Inspected())).pipe(
        Effect.retry({ schedule: pastInspectors, while: ({ _tag }) => _tag === "Inspected" }),
        Effect.catchTag("Inspected", () => Effect.succeed(false))
      )

  const withKernelLock = (options: AttemptOptions) =>
    Effect.gen(function*() {
      const { path } = options
      yield* insist(path)
      const { created, file } = yield* openOrCreate(options)
      const info = yield* file.stat
      const id = yield* identify(info, file.fd)

      const seen = Effect.gen(function*() {
        const record = yield* readRecord(file, info)
        return held({ record, enforcement: "kernel", fileId: id, ...(yield* touched(info)) })
      })
      if (id === options.present) return yield* seen

      const granted = yield* tryLock(file.fd).pipe(
        // A moment ago there were locks. What we made may be another's by now, and stays; the next attempt just finds it.
        Effect.catchTag("KernelLockUnsupported", (error) => Effect.fail(created ? new Moved() : error))
      )
      if (!granted) return yield* seen
      // Before the name is compared: while it was a link, it led to this file as well.
      if (!created) yield* refuseLink(path)
      if (!(yield* isStill(path, id))) return yield* Effect.fail(new Moved())
      // Only now: before, somebody else may have locked what we created, and it would be theirs that we remove.
      if (created) yield* Effect.addFinalizer(() => removeIfStill(path, id))
      if (!created) yield* selfTest(path, id)

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
        if (!(yield* whileClaimed(options, abandoned, write))) return held(abandoned)
      }
      yield* Claim.sweep(fs, path, claiming(options, "kernel"))
      return mine(heldFile(options, file, id, "kernel", Option.none(), leftover))
    })

  // -------------------------------------------------------------------------
  // record only
  // -------------------------------------------------------------------------

  /** Moves a file that was judged stale out of the way, or fails with `Moved` and leaves things as they were. */
  const moveAside = (path: string, judged: Snapshot) =>
    Effect.gen(function*() {
      const aside = Claim.asidePath(path, judged)
      if (!Option.exists(yield* look(path), (now) => isSame(judged, now))) return yield* Effect.fail(new Moved())
      yield* fs.rename(path, aside).pipe(Effect.catchIf(isNotFound, () => Effect.fail(new Moved())))
      const moved = yield* look(aside)
      if (Option.exists(moved, (moved) => isSame(judged, moved))) return yield* fs.remove(aside)
      // Somebody with a kernel lock has just taken it: give it back unless a third one has taken the name.
      yield* fs.link(aside, path).pipe(Effect.catchIf(isAlreadyExists, () => Effect.void))
      yield* fs.remove(aside)
      return yield* Effect.fail(new Moved())
    })

  /** Lets one reclaimer at a time move a file: `false` where another is at it. */
  const reclaim = (options: AttemptOptions, judged: Snapshot) =>
    Effect.scoped(Effect.gen(function*() {
      const claimed = yield* Claim.claim(fs, options.path, judged, claiming(options, "record"))
      if (Option.isNone(claimed)) return yield* Effect.fail(new Moved())
      if (claimed.value) yield* moveAside(options.path, judged)
      return claimed.value
    }))

  const withRecordOnly = (options: AttemptOptions, why: KernelLockUnsupported) =>
    Effect.gen(function*() {
      const { path } = options
      const record = options.record("record")
      let leftover = Option.none<Leftover>()
      const found = yield* look(path)
      const copy = Option.filter(found, (found) => isOurs(options, found.record) && found.fileId !== options.present)
      if (Option.isSome(copy)) leftover = Option.map(copy, leftoverOf)
      else if (Option.isSome(found)) {
        const judged = Option.filter(options.reclaim, (judged) => isSame(judged, found.value))
        if (Option.isNone(judged)) return held(found.value)
        if (!(yield* reclaim(options, judged.value))) return held(found.value)
        leftover = Option.map(found, leftoverOf)
      }
      const id = Option.isSome(copy) ? copy.value.fileId : yield* create(path, record, ({ sync }) => sync)
      const isOpen = yield* Ref.make(false)
      yield* Effect.addFinalizer(() => Effect.unlessEffect(removeIfStill(path, id), Ref.get(isOpen)))
      const file = yield* openExisting(path)
      yield* Ref.set(isOpen, true)
      // A start with a kernel lock takes a stale file over in place: the same file may be another's by now, and one that
      // cannot be read may be about to be.
      const isOursStill = Effect.flatMap(
        readOpen(file),
        (found) => isOurs(options, found) ? isStill(path, id) : Effect.succeed(false)
      )
      yield* Effect.addFinalizer(() => removeIf(path, isOursStill))
      if ((yield* idOf(file)) !== id) return yield* Effect.fail(new Moved())
      if (Option.isSome(copy)) {
        yield* refuseLink(path)
        yield* writeRecord(file, record)
        yield* file.sync
      }
      // A slow reclaimer may have moved our file away, or somebody have put another in its place.
      const now = yield* look(path)
      if (!Option.exists(now, (now) => now.fileId === id && isOurs(options, now.record))) {
        return yield* Effect.fail(new Moved())
      }
      yield* Claim.sweep(fs, path, claiming(options, "record"))
      return mine(heldFile(options, file, id, "record", Option.some(why), leftover))
    })

  return (options: AttemptOptions) =>
    Effect.flatMap(kernel.supported, () => keepOnlyIfMine(withKernelLock(options))).pipe(
      Effect.catchTag("KernelLockUnsupported", (why) => keepOnlyIfMine(withRecordOnly(options, why)))
    )
})

/**
 * Tries once. What was opened for an attempt that did not succeed is closed again before it ends; what
 * was acquired is released when the caller's scope closes.
 *
 * Uninterruptible, and short: waiting belongs around it.
 */
export const attempt = (
  options: AttemptOptions
): Effect.Effect<Attempt, LockUnavailable, FileSystem.FileSystem | KernelLock | Scope.Scope> =>
  Effect.uninterruptible(Effect.gen(function*() {
    const once = yield* make
    return yield* once(options).pipe(
      Effect.retry({ while: (error) => error._tag === "Moved", times: maxRestarts }),
      Effect.mapError((error) => {
        switch (error._tag) {
          case "LockUnavailable":
            return error
          case "Moved":
            return new LockUnavailable({
              path: options.path,
              reason: "the file keeps being replaced by other processes"
            })
          case "KernelLockFailed":
            return new LockUnavailable({ path: options.path, reason: error.reason, cause: error })
          default:
            return new LockUnavailable({ path: options.path, reason: describePlatformError(error), cause: error })
        }
      })
    )
  }))
