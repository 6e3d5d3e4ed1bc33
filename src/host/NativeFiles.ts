/**
 * What `FileSystem` does not tell of a file: its identity without rounding, and its path as the file system spells it.
 */
import { type PlatformError, SystemError, type SystemErrorReason } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Fs from "node:fs"
import { isNotFound } from "../internal/describeError.ts"
import { HostPlatform } from "./HostPlatform.ts"

/** Device and inode, whole. */
export interface Identity {
  readonly dev: bigint
  readonly ino: bigint
}

interface Native {
  /** Of a path, links followed, or of an open file by its descriptor. */
  readonly identify: (file: string | number) => Effect.Effect<Identity, PlatformError>
  /** The path with its links resolved and each name as the file system has it, in upper and lower case. */
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

/** The calls of this host. */
export class NativeFiles extends Context.Reference<NativeFiles>()("gateway-lock/NativeFiles", {
  defaultValue: (): Native => live
}) {}

/**
 * libuv 1.49 and 1.50 give the volume's serial number with 64 bits for a path and with 32 for a descriptor (libuv,
 * `fs__stat_handle` in `src/win/fs.c`; made the same in 1.51).
 */
const lowHalf = 0xffff_ffffn

/** What tells a file from every other one of this host, as a text. */
export type Identify = (
  info: FileSystem.File.Info,
  file: string | FileSystem.File.Descriptor
) => Effect.Effect<string, PlatformError>

/**
 * Tells files apart by device and inode. A number of JavaScript has 53 bits and an inode 64: those of NTFS, ReFS and of some
 * network file systems are longer, and two of them can be one number. Only those are asked for once more.
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

/** Whether two spellings of a path that differ in upper and lower case are one path, as they are by default. */
export const ignoresCase = (platform: string): boolean => platform === "darwin" || platform === "win32"

/** A path for comparing with another: APFS and NTFS ignore case, and APFS the way in which accents are composed. */
export const foldPath = (platform: string, path: string): string =>
  ignoresCase(platform) ? path.normalize("NFC").toLowerCase() : path

/**
 * The path with its links resolved, and in the file system's own spelling. Node's `fs.realpath`, which `FileSystem` asks, keeps the
 * case that it was given (nodejs/node#11379), and so do the prefix `\\?\` and the letter of a drive.
 */
export const realPath = (path: string): Effect.Effect<string, PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const native = yield* NativeFiles
    if (!ignoresCase(yield* HostPlatform)) return yield* fs.realPath(path)
    return yield* native.realPath(path).pipe(
      // Some virtual disks have no final path (`GetFinalPathNameByHandleW`).
      Effect.catchIf((error) => !isNotFound(error), () => fs.realPath(path))
    )
  })
