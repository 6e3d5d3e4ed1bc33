/**
 * Opens, reads and writes the files of a simulated file system. On Windows, locks of other handles block reads and writes.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { identityOfOpen, infoOf } from "./FileAttributes.ts"
import type { FileCalls } from "./FileCalls.ts"
import { overlaps, unlock } from "./FileLocks.ts"
import { may, permission, resolve } from "./PathResolution.ts"
import { closeCall, type Inode, type OpenFile, type SimulatedKernel } from "./SimulatedKernel.ts"

const used = (kernel: SimulatedKernel): number => {
  let bytes = 0
  for (const inode of new Set(kernel.paths.values())) bytes += inode.content.length
  return bytes
}

const writeAt = (kernel: SimulatedKernel, inode: Inode, position: number, bytes: Uint8Array): boolean => {
  const length = Math.max(inode.content.length, position + bytes.length)
  if (used(kernel) - inode.content.length + length > kernel.capacity) return false
  const content = new Uint8Array(length)
  content.set(inode.content)
  content.set(bytes, position)
  inode.content = content
  return true
}

/**
 * Whether a lock of another handle blocks a read or a write, as it does on Windows. An exclusive lock blocks both; a shared
 * lock blocks writes (`LockFileEx`, `ERROR_LOCK_VIOLATION`).
 */
const isLockedByAnother = (
  kernel: SimulatedKernel,
  inode: Inode,
  open: OpenFile | undefined,
  { from, length, writes }: { readonly from: number; readonly length: number; readonly writes: boolean }
): boolean =>
  kernel.platform === "win32" && length > 0
  && (kernel.locks.get(inode.ino) ?? []).some((lock) =>
    lock.file !== open && (writes || lock.exclusive) && overlaps(lock, { from, to: from + length })
  )

const openedFile = ({ call, kernel }: FileCalls, open: OpenFile, path: string): FileSystem.File => {
  const write = (bytes: Uint8Array) =>
    call("write", path, (fail, now) => {
      if (!open.writable) return fail("EBADF")
      if (
        isLockedByAnother(kernel, open.inode, open, { from: open.position, length: bytes.length, writes: true })
      ) return fail("EBUSY")
      if (!writeAt(kernel, open.inode, open.position, bytes)) return fail("ENOSPC")
      open.position += bytes.length
      open.inode.mtimeMillis = now
      return Effect.succeed(FileSystem.Size(bytes.length))
    }, open)
  const readAlloc = (size: FileSystem.SizeInput) =>
    call("read", path, (fail) => {
      const bytes = open.inode.content.slice(open.position, open.position + Number(size))
      if (
        isLockedByAnother(kernel, open.inode, open, { from: open.position, length: bytes.length, writes: false })
      ) return fail("EBUSY")
      open.position += bytes.length
      return Effect.succeed(bytes.length === 0 ? Option.none() : Option.some(bytes))
    }, open)
  return {
    [FileSystem.FileTypeId]: FileSystem.FileTypeId,
    fd: FileSystem.FileDescriptor(open.fd),
    stat: call(
      "fstat",
      path,
      () => Effect.succeed(infoOf(kernel, open.inode, identityOfOpen(kernel, open.inode))),
      open
    ),
    seek: (offset, from) =>
      Effect.sync(() => {
        open.position = Number(offset) + (from === "start" ? 0 : open.position)
      }),
    sync: call("fsync", path, () => Effect.void, open),
    read: (buffer) =>
      Effect.map(readAlloc(buffer.length), (bytes) => {
        if (Option.isSome(bytes)) buffer.set(bytes.value)
        return FileSystem.Size(Option.match(bytes, { onNone: () => 0, onSome: ({ length }) => length }))
      }),
    readAlloc,
    truncate: (length) =>
      call("ftruncate", path, (_, now) => {
        const size = Number(length ?? 0)
        const content = new Uint8Array(size)
        content.set(open.inode.content.subarray(0, size))
        open.inode.content = content
        open.inode.mtimeMillis = now
        return Effect.void
      }, open),
    write,
    writeAll: (bytes) => Effect.asVoid(write(bytes))
  }
}

const openFile = (
  { call, create, kernel, process }: FileCalls,
  path: string,
  options: FileSystem.OpenFileOptions | undefined
) =>
  call("open", path, (fail, now) => {
    const flag = options?.flag ?? "r"
    const creates = !flag.startsWith("r")
    const writable = flag !== "r"
    if (process.files.size >= process.maxFiles) return fail("EMFILE")
    const place = resolve(kernel, process, path, !flag.includes("x"))
    if (place._tag === "Fault") return fail(place.code)
    if (place.inode === undefined && !creates) return fail("ENOENT")
    const opened = (inode: Inode) => {
      if (flag.startsWith("w")) inode.content = new Uint8Array()
      const open: OpenFile = { fd: kernel.nextFd++, inode, writable, position: 0 }
      process.files.set(open.fd, open)
      return open
    }
    if (place.inode === undefined) {
      return Effect.map(create(place, "File", options?.mode ?? 0o666, now, fail), opened)
    }
    if (flag.includes("x")) return fail("EEXIST")
    if (place.inode.type === "Directory" && writable) return fail("EISDIR")
    if (kernel.readOnly && writable) return fail("EROFS")
    const readable = !writable || flag.includes("+")
    if (!may(process, place.inode, (readable ? permission.read : 0) | (writable ? permission.write : 0))) {
      return fail("EACCES")
    }
    return Effect.succeed(opened(place.inode))
  })

const close = ({ kernel, process }: FileCalls, open: OpenFile, path: string) =>
  closeCall(kernel, process, path, () => {
    process.files.delete(open.fd)
    unlock(kernel, open)
  })

/** Simulates open(2). The file is closed when the scope closes. */
export const open = (calls: FileCalls): FileSystem.FileSystem["open"] => (path, options) =>
  Effect.map(
    Effect.acquireRelease(openFile(calls, path, options), (open) => close(calls, open, path)),
    (open) => openedFile(calls, open, path)
  )

/** Reads a whole file. */
export const readFile = ({ call, existing, kernel, process }: FileCalls): FileSystem.FileSystem["readFile"] => (path) =>
  call("read", path, (fail) =>
    existing(path, fail, (inode) =>
      inode.type === "Directory"
        ? fail("EISDIR")
        : isLockedByAnother(kernel, inode, undefined, { from: 0, length: inode.content.length, writes: false })
        ? fail("EBUSY")
        : may(process, inode, permission.read)
        ? Effect.succeed(inode.content.slice())
        : fail("EACCES")))

/** Replaces the content of a file, and creates the file if it does not exist. */
export const writeFile =
  ({ call, create, kernel, process }: FileCalls): FileSystem.FileSystem["writeFile"] => (path, bytes, options) =>
    call("write", path, (fail, now) =>
      Effect.gen(function*() {
        const place = resolve(kernel, process, path, true)
        if (place._tag === "Fault") return yield* fail(place.code)
        if (kernel.readOnly) return yield* fail("EROFS")
        const inode = place.inode ?? (yield* create(place, "File", options?.mode ?? 0o666, now, fail))
        if (inode.type === "Directory") return yield* fail("EISDIR")
        if (!may(process, inode, permission.write)) return yield* fail("EACCES")
        if (
          isLockedByAnother(kernel, inode, undefined, { from: 0, length: bytes.length, writes: true })
        ) return yield* fail("EBUSY")
        inode.content = new Uint8Array()
        if (!writeAt(kernel, inode, 0, bytes)) return yield* fail("ENOSPC")
        inode.mtimeMillis = now
      }))
