/**
 * Facts about files that `FileSystem` does not provide: the exact identity, and the path as the file system spells it.
 */
import { type PlatformError, SystemError, type SystemErrorReason } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Fs from "node:fs"
import { isNotFound } from "../internal/describeError.ts"
import { HostPlatform } from "./HostPlatform.ts"

/** Device and inode with all 64 bits. */
export interface Identity {
  readonly dev: bigint
  readonly ino: bigint
}

interface Native {
  /** The identity of the file at a path, with links followed, or of an open file by its descriptor. */
  readonly identify: (file: string | number) => Effect.Effect<Identity, PlatformError>
  /** The path with its links resolved. Each name has upper-case and lower-case letters as the file system stores them. */
  readonly realPath: (path: string) => Effect.Effect<string, PlatformError>
}

const reasons: Readonly<Record<string, SystemErrorReason>> = {
  ENOENT: "NotFound",
  EACCES: "PermissionDenied",
  EBUSY: "Busy"
}

const call = <A>(
  method: string,
  file: string | number,
  run: (done: (error: NodeJS.ErrnoException | null, value: A) => void) => void
): Effect.Effect<A, PlatformError> =>
  Effect.async((resume) =>
    run((error, value) =>
      resume(
        error === null ? Effect.succeed(value) : Effect.fail(
          new SystemError({
            module: "FileSystem",
            method,
            reason: reasons[error.code ?? ""] ?? "Unknown",
            pathOrDescriptor: file,
            description: error.message,
            cause: error
          })
        )
      )
    )
  )

const live: Native = {
  identify: (file) =>
    call<Identity>("stat", file, (done) =>
      typeof file === "string"
        ? Fs.stat(file, { bigint: true }, done)
        : Fs.fstat(file, { bigint: true }, done)),
  realPath: (path) => call<string>("realPath", path, (done) => Fs.realpath.native(path, done))
}

/** The file system calls of this machine. Tests replace them with the calls of a simulated machine. */
export class NativeFiles extends Context.Reference<NativeFiles>()("gateway-lock/NativeFiles", {
  defaultValue: (): Native => live
}) {}

/**
 * On Windows `dev` is the volume's serial number, and only its low 32 bits are compared. libuv 1.49 and 1.50 return 64 bits for
 * a path, but 32 for a descriptor (`fs__stat_handle` in libuv's src/win/fs.c; fixed by libuv/libuv#4698 in 1.51).
 */
const lowHalf = 0xffff_ffffn

/** Returns a text that identifies a file among all files of this host. */
export type Identify = (
  info: FileSystem.File.Info,
  file: string | FileSystem.File.Descriptor
) => Effect.Effect<string, PlatformError>

/**
 * Identifies files by device and inode.
 *
 * An inode has 64 bits. `FileSystem` reads it as a JavaScript number, which holds integers of up to 53 bits
 * (@effect/platform-node 0.108.2; `makeFileInfo` in internal/fileSystem.ts of @effect/platform-node-shared). Inodes of NTFS, ReFS
 * and some network file systems can be longer than 53 bits, so two files can have the same rounded number. For such inodes a
 * second call reads the exact numbers.
 */
export const identify: Effect.Effect<Identify> = Effect.gen(function*() {
  const native = yield* NativeFiles
  const platform = yield* HostPlatform
  const name = ({ dev, ino }: Identity) => `${platform === "win32" ? dev & lowHalf : dev}:${ino}`
  return (info, file) => {
    const ino = Option.getOrElse(info.ino, () => 0)
    return Number.isSafeInteger(info.dev) && Number.isSafeInteger(ino)
      ? Effect.succeed(name({ dev: BigInt(info.dev), ino: BigInt(ino) }))
      : Effect.map(native.identify(typeof file === "string" ? file : Number(file)), name)
  }
})

/** Whether the file systems of a platform by default ignore the difference between upper and lower case. */
export const ignoresCase = (platform: string): boolean => platform === "darwin" || platform === "win32"

/**
 * The form of a path for comparing it with another path. APFS and NTFS ignore case. To APFS, an accented letter equals the letter
 * followed by a combining accent.
 */
export const foldPath = (platform: string, path: string): string =>
  ignoresCase(platform) ? path.normalize("NFC").toLowerCase() : path

/**
 * The path with its links resolved, in the file system's own spelling, so that one file has one path. On macOS and Windows
 * `FileSystem.realPath` is not enough. It calls Node's `fs.realpath`, which keeps the case of its argument
 * (nodejs/node#11379). `fs.realpath` also keeps the prefix `\\?\` and the drive letter as they are given.
 */
export const realPath = (path: string): Effect.Effect<string, PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const native = yield* NativeFiles
    if (!ignoresCase(yield* HostPlatform)) return yield* fs.realPath(path)
    return yield* native.realPath(path).pipe(
      // The native call fails on some virtual disks, which have no final path (`GetFinalPathNameByHandleW`).
      Effect.catchIf((error) => !isNotFound(error), () => fs.realPath(path))
    )
  })
