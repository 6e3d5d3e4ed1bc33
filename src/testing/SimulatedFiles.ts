/**
 * `FileSystem` and `KernelLock` over a simulated kernel: one tree, inodes with several names, open files that outlive
 * their names, a capacity, and locks that die with their process.
 *
 * @since 0.1.0
 */
import { type PlatformError, SystemError, type SystemErrorReason } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import { fromCalls, KernelLock, KernelLockUnsupported } from "../host/KernelLock.ts"
import { foldPath, type Identity, ignoresCase, type NativeFiles } from "../host/NativeFiles.ts"
import * as SimulatedAddon from "./SimulatedAddon.ts"
import {
  closeCall,
  type Inode,
  type KernelProcess,
  type NodeType,
  type OpenFile,
  overlaps,
  type SimulatedKernel,
  systemCall,
  unlock
} from "./SimulatedKernel.ts"

const reasons: Record<string, SystemErrorReason> = {
  ENOENT: "NotFound",
  EEXIST: "AlreadyExists",
  EACCES: "PermissionDenied",
  EBUSY: "Busy"
}

const texts: Record<string, string> = {
  ENOENT: "no such file or directory",
  EEXIST: "file already exists",
  EACCES: "permission denied",
  EISDIR: "illegal operation on a directory",
  ENOTDIR: "not a directory",
  EINVAL: "invalid argument",
  EBADF: "bad file descriptor",
  ENOSPC: "no space left on device",
  ENOTEMPTY: "directory not empty",
  EPERM: "operation not permitted",
  EROFS: "read-only file system",
  EBUSY: "resource busy or locked",
  EMFILE: "too many open files",
  ELOOP: "too many symbolic links encountered",
  EIO: "i/o error"
}

const systemError = (method: string, path: string) => (code: string): PlatformError =>
  new SystemError({
    module: "FileSystem",
    method,
    reason: reasons[code] ?? "Unknown",
    pathOrDescriptor: path,
    description: `${code}: ${texts[code] ?? "simulated error"}, ${method} '${path}'`
  }, { disableValidation: true })

const used = (kernel: SimulatedKernel): number => {
  let bytes = 0
  for (const inode of new Set(kernel.paths.values())) bytes += inode.content.length
  return bytes
}

/** path_resolution(7): as many links as Linux follows. */
const maxLinks = 40

const parts = (path: string): ReadonlyArray<string> => path.split("/").filter((part) => part !== "" && part !== ".")

/** The longest way that a name leads: to an inode, or to the place in a folder where there is none yet. */
type Resolved =
  | { readonly _tag: "Place"; readonly path: string; readonly parent: Inode; readonly inode: Inode | undefined }
  | { readonly _tag: "Fault"; readonly code: string }

const fault = (code: string): Resolved => ({ _tag: "Fault", code })

const [execute, write, read] = [1, 2, 4]

const may = (process: KernelProcess, inode: Inode, bit: number): boolean =>
  process.uid === 0 || (((inode.uid === process.uid ? inode.mode >> 6 : inode.mode) & bit) !== 0)

/** NTFS and APFS ignore case, and keep it as it was given: the name that a folder has, if it has one. */
const entryOf = (kernel: SimulatedKernel, path: string): string => {
  if (!ignoresCase(kernel.platform) || kernel.paths.has(path)) return path
  const folded = foldPath(kernel.platform, path)
  for (const known of kernel.paths.keys()) if (foldPath(kernel.platform, known) === folded) return known
  return path
}

const resolve = (
  kernel: SimulatedKernel,
  process: KernelProcess,
  path: string,
  follow: boolean,
  links = 0
): Resolved => {
  const root = kernel.paths.get("/")
  if (root === undefined) return fault("ENOENT")
  let at: { readonly path: string; readonly inode: Inode } = { path: "", inode: root }
  let place: Resolved = { _tag: "Place", path: "/", parent: root, inode: root }
  const names = parts(NodePath.posix.resolve("/", path))
  for (const [index, name] of names.entries()) {
    if (at.inode.type !== "Directory") return fault("ENOTDIR")
    if (!may(process, at.inode, execute)) return fault("EACCES")
    const here = entryOf(kernel, `${at.path}/${name}`)
    const inode = kernel.paths.get(here)
    const last = index === names.length - 1
    if (inode?.type === "SymbolicLink" && (follow || !last)) {
      if (links >= maxLinks) return fault("ELOOP")
      const target = NodePath.posix.resolve(at.path === "" ? "/" : at.path, inode.target, ...names.slice(index + 1))
      return resolve(kernel, process, target, follow, links + 1)
    }
    if (inode === undefined && !last) return fault("ENOENT")
    place = { _tag: "Place", path: here, parent: at.inode, inode }
    if (inode !== undefined) at = { path: here, inode }
  }
  return place
}

/** NTFS: a sequence number in the upper 16 bits, the number of the record in the others. */
const ntfsFileId = (inode: Inode): bigint => (0x0100n << 48n) | BigInt(inode.ino)

/** As libuv 1.49 and 1.50 have it on Windows: 64 bits of the volume's serial number for a path, 32 for a descriptor. */
const volumeSerial = 0x1f2e_3d4c_5b6a_7988n

const identityAt = (kernel: SimulatedKernel, inode: Inode): Identity =>
  kernel.platform === "win32"
    ? { dev: volumeSerial, ino: ntfsFileId(inode) }
    : { dev: 1n, ino: BigInt(inode.ino) }

const identityOfOpen = (kernel: SimulatedKernel, inode: Inode): Identity => {
  const { dev, ino } = identityAt(kernel, inode)
  return { dev: dev & 0xffff_ffffn, ino }
}

const isOpen = (kernel: SimulatedKernel, inode: Inode): boolean =>
  [...kernel.processes].some(({ files }) => [...files.values()].some((open) => open.inode === inode))

/**
 * What `FileSystem` does not tell of a file, as one process sees it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeNativeFiles = (kernel: SimulatedKernel, process: KernelProcess): NativeFiles["Type"] => {
  const at = <A>(name: string, path: string, found: (inode: Inode, path: string) => A) => {
    const error = systemError(name, path)
    return systemCall(kernel, process, { name, target: path }, error, () => {
      const place = resolve(kernel, process, path, true)
      if (place._tag === "Fault") return Effect.fail(error(place.code))
      return place.inode === undefined ? Effect.fail(error("ENOENT")) : Effect.succeed(found(place.inode, place.path))
    })
  }
  return {
    identify: (file) => {
      if (typeof file === "string") return at("stat", file, (inode) => identityAt(kernel, inode))
      const error = systemError("fstat", String(file))
      return systemCall(kernel, process, { name: "fstat", target: String(file) }, error, () => {
        const open = process.files.get(file)
        return open === undefined ? Effect.fail(error("EBADF")) : Effect.succeed(identityOfOpen(kernel, open.inode))
      })
    },
    realPath: (path) => at("realpath", path, (_, path) => path)
  }
}

/**
 * The file system as one process sees it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeFileSystem = (kernel: SimulatedKernel, process: KernelProcess): FileSystem.FileSystem => {
  const call = <A>(
    name: string,
    path: string,
    body: (fail: (code: string) => Effect.Effect<never, PlatformError>, now: number) => Effect.Effect<A, PlatformError>,
    opened?: OpenFile
  ): Effect.Effect<A, PlatformError> => {
    const error = systemError(name, path)
    return systemCall(
      kernel,
      process,
      { name, target: path },
      error,
      (clock) => body((code) => Effect.fail(error(code)), clock.unsafeCurrentTimeMillis()),
      Option.map(Option.fromNullable(opened), ({ inode }) => inode.ino)
    )
  }

  type Fail = (code: string) => Effect.Effect<never, PlatformError>

  /** Calls `found` with what there is under a name, and fails with `ENOENT` where there is nothing. */
  const existing = <A>(
    path: string,
    fail: Fail,
    found: (inode: Inode, place: { readonly path: string; readonly parent: Inode }) => Effect.Effect<A, PlatformError>,
    follow = true
  ): Effect.Effect<A, PlatformError> => {
    const place = resolve(kernel, process, path, follow)
    if (place._tag === "Fault") return fail(place.code)
    return place.inode === undefined ? fail("ENOENT") : found(place.inode, place)
  }

  /** Why a name cannot be given to or taken from a folder. */
  const folderFault = (parent: Inode, removed?: Inode): string | undefined => {
    if (parent.type !== "Directory") return "ENOTDIR"
    if (kernel.readOnly) return "EROFS"
    if (!may(process, parent, write) || !may(process, parent, execute)) return "EACCES"
    const sticky = (parent.mode & 0o1000) !== 0
    return sticky && removed !== undefined && process.uid !== 0 && removed.uid !== process.uid
        && parent.uid !== process.uid
      ? "EPERM"
      : undefined
  }

  const create = (
    place: { readonly path: string; readonly parent: Inode },
    type: NodeType,
    mode: number,
    now: number,
    fail: Fail
  ): Effect.Effect<Inode, PlatformError> => {
    const code = folderFault(place.parent) ?? (kernel.paths.size >= kernel.maxInodes ? "ENOSPC" : undefined)
    if (code !== undefined) return fail(code)
    const inode: Inode = {
      ino: kernel.nextInode++,
      type,
      uid: process.uid,
      content: new Uint8Array(),
      target: "",
      mode: type === "SymbolicLink" ? mode : mode & ~process.umask,
      mtimeMillis: now,
      links: 1
    }
    kernel.paths.set(place.path, inode)
    return Effect.succeed(inode)
  }

  /**
   * libuv knows of an access list whether a file is read-only, and makes up mode bits from that: 666 or 444, of a folder too; uid
   * and gid are 0 (`fs__stat_assign_statbuf` in `src/win/fs.c`).
   */
  const shownMode = (mode: number) => kernel.platform !== "win32" ? mode : (mode & 0o200) === 0 ? 0o444 : 0o666

  const info = (inode: Inode, { dev, ino }: Identity): FileSystem.File.Info => ({
    type: inode.type,
    mtime: Option.some(DateTime.toDate(DateTime.unsafeMake(inode.mtimeMillis))),
    atime: Option.none(),
    birthtime: Option.none(),
    dev: Number(dev),
    ino: Option.some(Number(ino)),
    mode: shownMode(inode.mode),
    nlink: Option.some(inode.links),
    uid: Option.some(kernel.platform === "win32" ? 0 : inode.uid),
    gid: Option.some(0),
    rdev: Option.none(),
    size: FileSystem.Size(inode.content.length),
    blksize: Option.none(),
    blocks: Option.none()
  })

  const writeAt = (inode: Inode, position: number, bytes: Uint8Array): boolean => {
    const length = Math.max(inode.content.length, position + bytes.length)
    if (used(kernel) - inode.content.length + length > kernel.capacity) return false
    const content = new Uint8Array(length)
    content.set(inode.content)
    content.set(bytes, position)
    inode.content = content
    return true
  }

  /**
   * Windows keeps from reading and writing what another handle has locked, for writing also where the lock is shared
   * (`LockFileEx`, `ERROR_LOCK_VIOLATION`).
   */
  const isLockedByAnother = (inode: Inode, open: OpenFile | undefined, from: number, length: number, writes: boolean) =>
    kernel.platform === "win32" && length > 0
    && (kernel.locks.get(inode.ino) ?? []).some((lock) =>
      lock.file !== open && (writes || lock.exclusive) && overlaps(lock, { from, to: from + length })
    )

  const openedFile = (open: OpenFile, path: string): FileSystem.File => {
    const write = (bytes: Uint8Array) =>
      call("write", path, (fail, now) => {
        if (!open.writable) return fail("EBADF")
        if (isLockedByAnother(open.inode, open, open.position, bytes.length, true)) return fail("EBUSY")
        if (!writeAt(open.inode, open.position, bytes)) return fail("ENOSPC")
        open.position += bytes.length
        open.inode.mtimeMillis = now
        return Effect.succeed(FileSystem.Size(bytes.length))
      }, open)
    const readAlloc = (size: FileSystem.SizeInput) =>
      call("read", path, (fail) => {
        const bytes = open.inode.content.slice(open.position, open.position + Number(size))
        if (isLockedByAnother(open.inode, open, open.position, bytes.length, false)) return fail("EBUSY")
        open.position += bytes.length
        return Effect.succeed(bytes.length === 0 ? Option.none() : Option.some(bytes))
      }, open)
    return {
      [FileSystem.FileTypeId]: FileSystem.FileTypeId,
      fd: FileSystem.FileDescriptor(open.fd),
      stat: call("fstat", path, () => Effect.succeed(info(open.inode, identityOfOpen(kernel, open.inode))), open),
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

  const openFile = (path: string, options?: FileSystem.OpenFileOptions) =>
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
      if (!may(process, place.inode, (readable ? read : 0) | (writable ? write : 0))) return fail("EACCES")
      return Effect.succeed(opened(place.inode))
    })

  const close = (open: OpenFile, path: string) =>
    closeCall(kernel, process, path, () => {
      unlock(kernel, open)
      process.files.delete(open.fd)
    })

  const removeName = (path: string, inode: Inode) => {
    inode.links -= 1
    kernel.paths.delete(path)
  }

  return FileSystem.make({
    ...FileSystem.makeNoop({}),
    open: (path, options) =>
      Effect.map(
        Effect.acquireRelease(openFile(path, options), (open) => close(open, path)),
        (open) => openedFile(open, path)
      ),
    stat: (path) =>
      call(
        "stat",
        path,
        (fail) => existing(path, fail, (inode) => Effect.succeed(info(inode, identityAt(kernel, inode))))
      ),
    readLink: (path) =>
      call(
        "readlink",
        path,
        (fail) =>
          existing(path, fail, (inode) =>
            inode.type === "SymbolicLink" ? Effect.succeed(inode.target) : fail("EINVAL"), false)
      ),
    // Node's own, which keeps the case that it was given.
    realPath: (given) =>
      call("realpath", given, (fail) =>
        existing(given, fail, (_, { path }) => {
          const absolute = NodePath.posix.resolve("/", given)
          return Effect.succeed(
            foldPath(kernel.platform, absolute) === foldPath(kernel.platform, path) ? absolute : path
          )
        })),
    symlink: (from, to) =>
      call("symlink", to, (fail, now) => {
        const place = resolve(kernel, process, to, false)
        if (place._tag === "Fault") return fail(place.code)
        if (place.inode !== undefined) return fail("EEXIST")
        return Effect.map(create(place, "SymbolicLink", 0o777, now, fail), (inode) => {
          inode.target = from
        })
      }),
    link: (from, to) =>
      call("link", to, (fail) =>
        existing(from, fail, (inode) => {
          const place = resolve(kernel, process, to, false)
          const code = place._tag === "Fault"
            ? place.code
            : place.inode === undefined
            ? folderFault(place.parent)
            : "EEXIST"
          if (place._tag === "Fault" || code !== undefined) return fail(code ?? "EIO")
          inode.links += 1
          kernel.paths.set(place.path, inode)
          return Effect.void
        }, false)),
    rename: (from, to) =>
      call("rename", from, (fail) =>
        existing(from, fail, (inode, source) => {
          const place = resolve(kernel, process, to, false)
          if (place._tag === "Fault") return fail(place.code)
          const code = folderFault(source.parent, inode) ?? folderFault(place.parent, place.inode)
          if (code !== undefined) return fail(code)
          // `MoveFileExW` does not replace a file that is open, whatever it is shared for.
          if (kernel.platform === "win32" && place.inode !== undefined && isOpen(kernel, place.inode)) {
            return fail("EPERM")
          }
          // Two names of one file: rename(2) does nothing.
          if (place.inode === inode) return Effect.void
          if (place.inode !== undefined) removeName(place.path, place.inode)
          const below = [...kernel.paths].filter(([name]) => name.startsWith(`${source.path}/`))
          for (const [name, child] of below) {
            kernel.paths.delete(name)
            kernel.paths.set(`${place.path}${name.slice(source.path.length)}`, child)
          }
          kernel.paths.delete(source.path)
          kernel.paths.set(place.path, inode)
          return Effect.void
        }, false)),
    remove: (path, options) =>
      call("unlink", path, (fail) => {
        const place = resolve(kernel, process, path, false)
        if (place._tag === "Fault" || place.inode === undefined) {
          const code = place._tag === "Fault" ? place.code : "ENOENT"
          return options?.force === true && code === "ENOENT" ? Effect.void : fail(code)
        }
        const code = folderFault(place.parent, place.inode)
        if (code !== undefined) return fail(code)
        const below = [...kernel.paths].filter(([name]) => name.startsWith(`${place.path}/`))
        if (below.length > 0 && options?.recursive !== true) return fail("ENOTEMPTY")
        for (const [name, child] of below) removeName(name, child)
        removeName(place.path, place.inode)
        return Effect.void
      }),
    makeDirectory: (path, options) =>
      call("mkdir", path, (fail, now) =>
        Effect.gen(function*() {
          const names = parts(NodePath.posix.resolve("/", path))
          for (const index of names.keys()) {
            const last = index === names.length - 1
            const place = resolve(kernel, process, `/${names.slice(0, index + 1).join("/")}`, true)
            if (place._tag === "Fault") return yield* fail(place.code)
            const { inode } = place
            if (inode === undefined) {
              if (!last && options?.recursive !== true) return yield* fail("ENOENT")
              yield* create(place, "Directory", options?.mode ?? 0o777, now, fail)
            } else if (inode.type !== "Directory") return yield* fail(last ? "EEXIST" : "ENOTDIR")
            else if (last && options?.recursive !== true) return yield* fail("EEXIST")
          }
        })),
    readDirectory: (path) =>
      call("readdir", path, (fail) =>
        existing(path, fail, (inode, { path }) => {
          if (inode.type !== "Directory") return fail("ENOTDIR")
          if (!may(process, inode, read)) return fail("EACCES")
          const prefix = path === "/" ? "/" : `${path}/`
          return Effect.succeed(
            [...kernel.paths.keys()].filter((name) => name.startsWith(prefix) && name !== "/")
              .map((name) => name.slice(prefix.length)).filter((name) => !name.includes("/"))
          )
        })),
    chmod: (path, mode) =>
      call("chmod", path, (fail) =>
        existing(path, fail, (inode) => {
          if (kernel.readOnly) return fail("EROFS")
          if (process.uid !== 0 && process.uid !== inode.uid) return fail("EPERM")
          // `fs__fchmod` in `src/win/fs.c`: read-only or not.
          inode.mode = kernel.platform === "win32"
            ? (mode & 0o200) === 0 ? inode.mode & ~0o222 : inode.mode | 0o200
            : mode & 0o7777
          return Effect.void
        })),
    readFile: (path) =>
      call("read", path, (fail) =>
        existing(path, fail, (inode) =>
          inode.type === "Directory"
            ? fail("EISDIR")
            : isLockedByAnother(inode, undefined, 0, inode.content.length, false)
            ? fail("EBUSY")
            : may(process, inode, read)
            ? Effect.succeed(inode.content.slice())
            : fail("EACCES"))),
    writeFile: (path, bytes, options) =>
      call("write", path, (fail, now) =>
        Effect.gen(function*() {
          const place = resolve(kernel, process, path, true)
          if (place._tag === "Fault") return yield* fail(place.code)
          if (kernel.readOnly) return yield* fail("EROFS")
          const inode = place.inode ?? (yield* create(place, "File", options?.mode ?? 0o666, now, fail))
          if (inode.type === "Directory") return yield* fail("EISDIR")
          if (!may(process, inode, write)) return yield* fail("EACCES")
          if (isLockedByAnother(inode, undefined, 0, bytes.length, true)) return yield* fail("EBUSY")
          inode.content = new Uint8Array()
          if (!writeAt(inode, 0, bytes)) return yield* fail("ENOSPC")
          inode.mtimeMillis = now
        })),
    utimes: (path, _, mtime) =>
      call("utimes", path, (fail) =>
        existing(path, fail, (inode) => {
          if (kernel.readOnly) return fail("EROFS")
          if (process.uid !== 0 && process.uid !== inode.uid && !may(process, inode, write)) return fail("EACCES")
          inode.mtimeMillis = typeof mtime === "number" ? mtime * 1000 : mtime.getTime()
          return Effect.void
        }))
  })
}

/**
 * The kernel locks as one process sees them: the live adapter, over a simulated addon.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeKernelLock = (kernel: SimulatedKernel, process: KernelProcess): KernelLock["Type"] => {
  const absent = new KernelLockUnsupported({ where: "addon", reason: "no addon in this simulation" })
  const lock = fromCalls(SimulatedAddon.make(kernel, process), kernel.platform)
  const unlessAbsent = <A, E>(ask: Effect.Effect<A, E>) =>
    Effect.suspend((): Effect.Effect<A, E | KernelLockUnsupported> =>
      kernel.locking === "absent" || !process.kernelLocks ? Effect.fail(absent) : ask
    )
  return KernelLock.of({
    supported: unlessAbsent(Effect.void),
    tryLock: (fd) => unlessAbsent(lock.tryLock(fd)),
    isLocked: (fd) => unlessAbsent(lock.isLocked(fd))
  })
}
