/**
 * Opens, identifies, reads and removes lock files by their paths, and never follows a symbolic link.
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { LockUnavailable } from "../GatewayLockError.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import { isMomentary, patientFiles } from "../host/momentary.ts"
import * as NativeFiles from "../host/NativeFiles.ts"
import { describeDefect, describePlatformError, isNotFound } from "../internal/describeError.ts"
import { acquire } from "../internal/onClose.ts"
import { linkTarget, readRecord, type Snapshot, touched } from "./Snapshot.ts"

/** Another process created, removed or replaced the file at the path between two steps of an attempt, which then starts over. */
export class Moved {
  readonly _tag = "Moved"
}

/** The file system, and the operations on the path of a lock file. */
export interface NamedFiles {
  /** The file system. It retries an operation that Windows refuses for a moment (`isMomentary`). */
  readonly fs: FileSystem.FileSystem
  readonly identify: NativeFiles.Identify
  /** The identity of an open file: device and inode. */
  readonly idOf: (file: FileSystem.File) => Effect.Effect<string, PlatformError>
  /** The identity of the file that has the path now. `None` if there is no file. */
  readonly idAt: (path: string) => Effect.Effect<Option.Option<string>, PlatformError>
  readonly isStill: (path: string, id: string) => Effect.Effect<boolean, PlatformError>
  /** Reads the file at a path. `None` if there is no file. */
  readonly look: (path: string) => Effect.Effect<Option.Option<Snapshot>, PlatformError | LockUnavailable>
  /**
   * Removes the file if the condition holds. Used for the release of a lock. Retries while Windows refuses the removal for a
   * moment (`isMomentary`). Never fails: a failure is logged.
   */
  readonly removeIf: (path: string, condition: Effect.Effect<boolean, PlatformError>) => Effect.Effect<void>
  readonly removeIfStill: (path: string, id: string) => Effect.Effect<void>
}

const isMissing = (error: PlatformError | LockUnavailable): boolean =>
  error._tag !== "LockUnavailable" && isNotFound(error)

const refuse = (path: string, reason: string) => new LockUnavailable({ path, reason })

/**
 * How long a release retries a removal that Windows refuses for a moment (`isMomentary`). This time is shorter than
 * `releaseTimeout` in `LockFile.ts`, which limits the whole release.
 */
const removal = Schedule.spaced("100 millis").pipe(Schedule.upTo("2 seconds"))

/** Runs an effect with this context instead of the one of its caller. */
const within = <A, E>(context: Context.Context<never>, self: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.mapInputContext<A, E, never, never>(self, () => context)

/**
 * Opens a file until the scope closes. If close(2) fails (`EIO`, `EDQUOT`), the failure is only logged, because the
 * descriptor is closed anyway.
 *
 * The file system's own finalizer compares the contexts at the open and at the close (see `onClose`). It needs no service, so both
 * contexts are nearly empty.
 */
export const open = (fs: FileSystem.FileSystem, path: string, options: FileSystem.OpenFileOptions) =>
  Effect.flatMap(Scope.make(), (own) =>
    acquire(
      within(Context.empty(), Scope.extend(fs.open(path, options), own)),
      (_, exit) =>
        Effect.catchAllDefect(within(Context.make(Scope.Scope, own), Scope.close(own, exit)), (defect) =>
          Effect.logWarning(`could not close gateway lock ${path}: ${describeDefect(defect)}`))
    ))

/** Opens a lock file that existed a moment ago. Fails with `Moved` if it was removed. */
export const openExisting = (fs: FileSystem.FileSystem, path: string) =>
  open(fs, path, { flag: "r+" }).pipe(Effect.catchIf(isNotFound, () => Effect.fail(new Moved())))

const refuseTarget = (path: string, target: string) => refuse(path, `it is a symbolic link to ${target}`)

/** Fails if the path is a symbolic link. */
export const refuseLink = (fs: FileSystem.FileSystem, path: string): Effect.Effect<void, LockUnavailable> =>
  Effect.flatMap(
    linkTarget(fs, path),
    (link) => Option.isSome(link) ? refuseTarget(path, link.value) : Effect.void
  )

const statPath = (
  fs: FileSystem.FileSystem,
  path: string
): Effect.Effect<Option.Option<FileSystem.File.Info>, PlatformError> =>
  fs.stat(path).pipe(
    Effect.asSome,
    Effect.catchIf(isNotFound, () => Effect.succeedNone)
  )

/**
 * Fails if the path is a symbolic link, which could lead to an unrelated file. Also fails if the path leads to a file
 * that is not regular, because open(2) of a FIFO could block. Returns whether there is a file.
 */
export const requireRegularFile = (
  fs: FileSystem.FileSystem,
  path: string
): Effect.Effect<boolean, PlatformError | LockUnavailable> =>
  Effect.gen(function*() {
    const link = yield* Effect.either(fs.readLink(path))
    if (Either.isRight(link)) return yield* refuseTarget(path, link.right)
    if (isNotFound(link.left)) return false
    const info = yield* statPath(fs, path)
    if (Option.isSome(info) && info.value.type !== "File") {
      return yield* refuse(path, `it is not a regular file but a ${info.value.type.toLowerCase()}`)
    }
    return Option.isSome(info)
  })

/** Makes the operations for the file system of this host. */
export const make: Effect.Effect<NamedFiles, never, FileSystem.FileSystem> = Effect.gen(function*() {
  const fs = yield* patientFiles
  const platform = yield* HostPlatform
  const identify = yield* NativeFiles.identify

  const idOf = (file: FileSystem.File): Effect.Effect<string, PlatformError> =>
    Effect.flatMap(file.stat, (info) => identify(info, file.fd))

  const idAt = (path: string): Effect.Effect<Option.Option<string>, PlatformError> =>
    Effect.flatMap(fs.stat(path), (info) => identify(info, path)).pipe(
      Effect.asSome,
      Effect.catchIf(isNotFound, () => Effect.succeedNone)
    )

  const isStill = (path: string, id: string): Effect.Effect<boolean, PlatformError> =>
    Effect.map(idAt(path), Option.contains(id))

  const look = (path: string): Effect.Effect<Option.Option<Snapshot>, PlatformError | LockUnavailable> =>
    Effect.scoped(Effect.gen(function*() {
      if (!(yield* requireRegularFile(fs, path))) return Option.none()
      const file = yield* open(fs, path, { flag: "r" })
      const info = yield* file.stat
      yield* refuseLink(fs, path)
      return Option.some<Snapshot>({
        record: yield* readRecord(file, info),
        enforcement: "record",
        fileId: yield* identify(info, file.fd),
        ...(yield* touched(info))
      })
    })).pipe(Effect.catchIf(isMissing, () => Effect.succeedNone))

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

  return { fs, identify, idOf, idAt, isStill, look, removeIf, removeIfStill }
})
