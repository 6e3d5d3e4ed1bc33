/**
 * Identity, mode and times of a file in a simulated file system, and the calls that read and change them.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Identity } from "../host/NativeFiles.ts"
import type { FileCalls } from "./FileCalls.ts"
import { may, permission } from "./PathResolution.ts"
import type { Inode, SimulatedKernel } from "./SimulatedKernel.ts"

/** A file id of NTFS: the sequence number in the upper 16 bits, the number of the file record in the lower 48. */
const ntfsFileId = (inode: Inode): bigint => (0x0100n << 48n) | BigInt(inode.ino)

/**
 * The serial number of the volume, which libuv reports as the device on Windows. libuv 1.49 and 1.50 report all 64 bits for a
 * path, and only the lower 32 bits for a descriptor.
 */
const volumeSerial = 0x1f2e_3d4c_5b6a_7988n

/** Device and inode as stat(2) reports them for a path. */
export const identityAt = (kernel: SimulatedKernel, inode: Inode): Identity =>
  kernel.platform === "win32"
    ? { dev: volumeSerial, ino: ntfsFileId(inode) }
    : { dev: 1n, ino: BigInt(inode.ino) }

/** Device and inode as fstat(2) reports them for an open file. libuv on Windows drops the upper 32 bits of the device. */
export const identityOfOpen = (kernel: SimulatedKernel, inode: Inode): Identity => {
  const { dev, ino } = identityAt(kernel, inode)
  return { dev: dev & 0xffff_ffffn, ino }
}

/**
 * The mode that stat(2) reports. On Windows libuv looks only at the read-only attribute and ignores access lists. So the mode is
 * 444 or 666, even for a folder (`fs__stat_assign_statbuf` in `src/win/fs.c`).
 */
const shownMode = (kernel: SimulatedKernel, mode: number) =>
  kernel.platform !== "win32" ? mode : (mode & 0o200) === 0 ? 0o444 : 0o666

/** The result of stat(2). On Windows libuv reports 0 as the uid and as the gid. */
export const infoOf = (kernel: SimulatedKernel, inode: Inode, { dev, ino }: Identity): FileSystem.File.Info => ({
  type: inode.type,
  mtime: Option.some(DateTime.toDate(DateTime.unsafeMake(inode.mtimeMillis))),
  atime: Option.none(),
  birthtime: Option.none(),
  dev: Number(dev),
  ino: Option.some(Number(ino)),
  mode: shownMode(kernel, inode.mode),
  nlink: Option.some(inode.links),
  uid: Option.some(kernel.platform === "win32" ? 0 : inode.uid),
  gid: Option.some(0),
  rdev: Option.none(),
  size: FileSystem.Size(inode.content.length),
  blksize: Option.none(),
  blocks: Option.none()
})

/** Simulates stat(2). */
export const stat = ({ call, existing, kernel }: FileCalls): FileSystem.FileSystem["stat"] => (path) =>
  call(
    "stat",
    path,
    (fail) => existing(path, fail, (inode) => Effect.succeed(infoOf(kernel, inode, identityAt(kernel, inode))))
  )

/** Simulates access(2). On Windows libuv checks only the read-only attribute, and allows every read (`fs__access` in `src/win/fs.c`). */
export const access =
  ({ call, existing, kernel, process }: FileCalls): FileSystem.FileSystem["access"] =>
  (path, { readable = false, writable = false } = {}) =>
    call("access", path, (fail) =>
      existing(path, fail, (inode) => {
        if (kernel.platform === "win32") {
          return writable && inode.type === "File" && (inode.mode & 0o200) === 0 ? fail("EPERM") : Effect.void
        }
        if (readable && !may(process, inode, permission.read)) return fail("EACCES")
        if (writable && !may(process, inode, permission.write)) return fail("EACCES")
        return writable && kernel.readOnly ? fail("EROFS") : Effect.void
      }))

/** Simulates chmod(2). */
export const chmod = ({ call, existing, kernel, process }: FileCalls): FileSystem.FileSystem["chmod"] => (path, mode) =>
  call("chmod", path, (fail) =>
    existing(path, fail, (inode) => {
      if (kernel.readOnly) return fail("EROFS")
      if (process.uid !== 0 && process.uid !== inode.uid) return fail("EPERM")
      // On Windows libuv only sets or clears the read-only attribute (`fs__fchmod` in `src/win/fs.c`).
      inode.mode = kernel.platform === "win32"
        ? (mode & 0o200) === 0 ? inode.mode & ~0o222 : inode.mode | 0o200
        : mode & 0o7777
      return Effect.void
    }))

/** Simulates utimensat(2). */
export const utimes =
  ({ call, existing, kernel, process }: FileCalls): FileSystem.FileSystem["utimes"] => (path, _, mtime) =>
    call("utimes", path, (fail) =>
      existing(path, fail, (inode) => {
        if (kernel.readOnly) return fail("EROFS")
        if (process.uid !== 0 && process.uid !== inode.uid && !may(process, inode, permission.write)) {
          return fail("EACCES")
        }
        inode.mtimeMillis = typeof mtime === "number" ? mtime * 1000 : mtime.getTime()
        return Effect.void
      }))
