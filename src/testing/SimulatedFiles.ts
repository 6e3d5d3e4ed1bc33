/**
 * `FileSystem` and `KernelLock` over a simulated kernel: one tree, inodes with several names, open files that outlive
 * their names, a capacity, and locks that die with their process.
 *
 * @since 0.1.0
 */
import { type PlatformError, SystemError, type SystemErrorReason } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import { KernelLock, KernelLockFailed, KernelLockUnsupported } from "../lock/KernelLock.ts"
import {
  type Inode,
  type KernelProcess,
  type NodeType,
  type OpenFile,
  type SimulatedKernel,
  systemCall
} from "./SimulatedKernel.ts"

const reasons: Record<string, SystemErrorReason> = {
  ENOENT: "NotFound",
  EEXIST: "AlreadyExists",
  EACCES: "PermissionDenied",
  EPERM: "PermissionDenied",
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
  EIO: "i/o error"
}

const systemError = (method: string, path: string) => (code: string): PlatformError =>
  new SystemError({
    module: "FileSystem",
    method,
    reason: reasons[code] ?? "Unknown",
    pathOrDescriptor: path,
    description: `${code}: ${texts[code] ?? "simulated error"}, ${method} '${path}'`
  })

const normalize = (path: string): string => NodePath.posix.resolve("/", path)

const used = (kernel: SimulatedKernel): number => {
  const seen = new Set<Inode>()
  let bytes = 0
  for (const inode of kernel.paths.values()) {
    if (!seen.has(inode)) bytes += inode.content.length
    seen.add(inode)
  }
  return bytes
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
    body: (fail: (code: string) => Effect.Effect<never, PlatformError>, now: number) => Effect.Effect<A, PlatformError>
  ): Effect.Effect<A, PlatformError> => {
    const error = systemError(name, path)
    return systemCall(
      kernel,
      process,
      { name, target: path },
      error,
      () => Effect.flatMap(Clock.currentTimeMillis, (now) => body((code) => Effect.fail(error(code)), now))
    )
  }

  const lookup = (path: string, follow: boolean): Inode | undefined => {
    const found = kernel.paths.get(normalize(path))
    return found?.type === "SymbolicLink" && follow
      ? lookup(NodePath.posix.resolve(NodePath.posix.dirname(normalize(path)), found.target), true)
      : found
  }

  const parentFault = (path: string): string | undefined => {
    const parent = lookup(NodePath.posix.dirname(normalize(path)), true)
    return parent === undefined ? "ENOENT" : parent.type === "Directory" ? undefined : "ENOTDIR"
  }

  const create = (path: string, type: NodeType, mode: number, now: number): Inode => {
    const inode: Inode = {
      ino: kernel.nextInode++,
      type,
      content: new Uint8Array(),
      target: "",
      mode,
      mtimeMillis: now,
      links: 1
    }
    kernel.paths.set(normalize(path), inode)
    return inode
  }

  const info = (inode: Inode): FileSystem.File.Info => ({
    type: inode.type,
    mtime: Option.some(DateTime.toDate(DateTime.unsafeMake(inode.mtimeMillis))),
    atime: Option.none(),
    birthtime: Option.none(),
    dev: 1,
    ino: Option.some(inode.ino),
    mode: inode.mode,
    nlink: Option.some(inode.links),
    uid: Option.some(0),
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

  const openedFile = (open: OpenFile, path: string): FileSystem.File => {
    const write = (bytes: Uint8Array) =>
      call("write", path, (fail, now) => {
        if (!open.writable) return fail("EBADF")
        if (!writeAt(open.inode, open.position, bytes)) return fail("ENOSPC")
        open.position += bytes.length
        open.inode.mtimeMillis = now
        return Effect.succeed(FileSystem.Size(bytes.length))
      })
    const readAlloc = (size: FileSystem.SizeInput) =>
      call("read", path, () => {
        const bytes = open.inode.content.slice(open.position, open.position + Number(size))
        open.position += bytes.length
        return Effect.succeed(bytes.length === 0 ? Option.none() : Option.some(bytes))
      })
    return {
      [FileSystem.FileTypeId]: FileSystem.FileTypeId,
      fd: FileSystem.FileDescriptor(open.fd),
      stat: call("fstat", path, () => Effect.succeed(info(open.inode))),
      seek: (offset, from) =>
        Effect.sync(() => {
          open.position = Number(offset) + (from === "start" ? 0 : open.position)
        }),
      sync: call("fsync", path, () => Effect.void),
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
        }),
      write,
      writeAll: (bytes) => Effect.asVoid(write(bytes))
    }
  }

  const openFile = (path: string, options?: FileSystem.OpenFileOptions) =>
    call("open", path, (fail, now) => {
      const flag = options?.flag ?? "r"
      const creates = !flag.startsWith("r")
      const writable = flag !== "r"
      const found = lookup(path, !flag.includes("x"))
      if (found !== undefined && flag.includes("x")) return fail("EEXIST")
      if (found?.type === "Directory" && writable) return fail("EISDIR")
      if (found === undefined) {
        const fault = parentFault(path)
        if (fault !== undefined || !creates) return fail(fault ?? "ENOENT")
      }
      const inode = found ?? create(path, "File", options?.mode ?? 0o644, now)
      if (flag.startsWith("w")) inode.content = new Uint8Array()
      const open: OpenFile = { fd: kernel.nextFd++, inode, writable, position: 0 }
      process.files.set(open.fd, open)
      return Effect.succeed(open)
    })

  const close = (open: OpenFile) =>
    Effect.sync(() => {
      // A dead process has had its files closed already, and another may hold the lock by now.
      if (kernel.locks.get(open.inode.ino) === open) kernel.locks.delete(open.inode.ino)
      process.files.delete(open.fd)
    })

  const removeName = (path: string, inode: Inode) => {
    inode.links -= 1
    kernel.paths.delete(normalize(path))
  }

  return FileSystem.make({
    ...FileSystem.makeNoop({}),
    open: (path, options) =>
      Effect.map(Effect.acquireRelease(openFile(path, options), close), (open) => openedFile(open, path)),
    stat: (path) =>
      call("stat", path, (fail) => {
        const inode = lookup(path, true)
        return inode === undefined ? fail(parentFault(path) ?? "ENOENT") : Effect.succeed(info(inode))
      }),
    readLink: (path) =>
      call("readlink", path, (fail) => {
        const inode = lookup(path, false)
        if (inode === undefined) return fail(parentFault(path) ?? "ENOENT")
        return inode.type === "SymbolicLink" ? Effect.succeed(inode.target) : fail("EINVAL")
      }),
    realPath: (path) =>
      call("realpath", path, (fail) => {
        const inode = lookup(path, false)
        if (inode === undefined) return fail("ENOENT")
        return Effect.succeed(
          inode.type === "SymbolicLink"
            ? NodePath.posix.resolve(NodePath.posix.dirname(normalize(path)), inode.target)
            : normalize(path)
        )
      }),
    symlink: (from, to) =>
      call("symlink", to, (fail, now) => {
        const fault = lookup(to, false) === undefined ? parentFault(to) : "EEXIST"
        if (fault !== undefined) return fail(fault)
        create(to, "SymbolicLink", 0o777, now).target = from
        return Effect.void
      }),
    link: (from, to) =>
      call("link", to, (fail) => {
        const inode = lookup(from, false)
        if (inode === undefined) return fail("ENOENT")
        const fault = lookup(to, false) === undefined ? parentFault(to) : "EEXIST"
        if (fault !== undefined) return fail(fault)
        inode.links += 1
        kernel.paths.set(normalize(to), inode)
        return Effect.void
      }),
    rename: (from, to) =>
      call("rename", from, (fail) => {
        const inode = lookup(from, false)
        const fault = inode === undefined ? "ENOENT" : parentFault(to)
        if (inode === undefined || fault !== undefined) return fail(fault ?? "ENOENT")
        const replaced = lookup(to, false)
        // Two names of one file: rename(2) does nothing.
        if (replaced === inode) return Effect.void
        if (replaced !== undefined) removeName(to, replaced)
        kernel.paths.delete(normalize(from))
        kernel.paths.set(normalize(to), inode)
        return Effect.void
      }),
    remove: (path, options) =>
      call("unlink", path, (fail) => {
        const inode = lookup(path, false)
        if (inode === undefined) return options?.force === true ? Effect.void : fail("ENOENT")
        const below = [...kernel.paths].filter(([name]) => name.startsWith(`${normalize(path)}/`))
        if (below.length > 0 && options?.recursive !== true) return fail("ENOTEMPTY")
        for (const [name, child] of below) removeName(name, child)
        removeName(path, inode)
        return Effect.void
      }),
    makeDirectory: (path, options) =>
      call("mkdir", path, (fail, now) => {
        const parts = normalize(path).split("/").filter((part) => part !== "")
        for (const [index] of parts.entries()) {
          const at = `/${parts.slice(0, index + 1).join("/")}`
          const found = lookup(at, true)
          const last = index === parts.length - 1
          if (found !== undefined && found.type !== "Directory") return fail(last ? "EEXIST" : "ENOTDIR")
          if (found !== undefined && last && options?.recursive !== true) return fail("EEXIST")
          if (found === undefined && !last && options?.recursive !== true) return fail("ENOENT")
          if (found === undefined) create(at, "Directory", options?.mode ?? 0o777, now)
        }
        return Effect.void
      }),
    readDirectory: (path) =>
      call("readdir", path, (fail) => {
        const inode = lookup(path, true)
        if (inode === undefined) return fail("ENOENT")
        if (inode.type !== "Directory") return fail("ENOTDIR")
        const prefix = normalize(path) === "/" ? "/" : `${normalize(path)}/`
        return Effect.succeed(
          [...kernel.paths.keys()].filter((name) => name.startsWith(prefix) && name !== "/")
            .map((name) => name.slice(prefix.length)).filter((name) => !name.includes("/"))
        )
      }),
    readFile: (path) =>
      call("read", path, (fail) => {
        const inode = lookup(path, true)
        if (inode === undefined) return fail(parentFault(path) ?? "ENOENT")
        return inode.type === "Directory" ? fail("EISDIR") : Effect.succeed(inode.content.slice())
      }),
    writeFile: (path, bytes, options) =>
      call("write", path, (fail, now) => {
        const fault = parentFault(path)
        if (fault !== undefined) return fail(fault)
        const inode = lookup(path, true) ?? create(path, "File", options?.mode ?? 0o644, now)
        inode.content = new Uint8Array()
        if (!writeAt(inode, 0, bytes)) return fail("ENOSPC")
        inode.mtimeMillis = now
        return Effect.void
      }),
    utimes: (path, _, mtime) =>
      call("utimes", path, (fail) => {
        const inode = lookup(path, true)
        if (inode === undefined) return fail("ENOENT")
        inode.mtimeMillis = typeof mtime === "number" ? mtime * 1000 : mtime.getTime()
        return Effect.void
      })
  })
}

/**
 * The kernel locks as one process sees them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeKernelLock = (kernel: SimulatedKernel, process: KernelProcess): KernelLock["Type"] => {
  const absent = new KernelLockUnsupported({ where: "addon", reason: "no addon in this simulation" })
  const tryLock = (fd: FileSystem.File.Descriptor) =>
    systemCall<boolean, KernelLockUnsupported | KernelLockFailed>(
      kernel,
      process,
      { name: "fcntl", target: String(fd) },
      (code) =>
        code === "ENOLCK" || code === "ENOTSUP"
          ? new KernelLockUnsupported({ where: "filesystem", reason: `${code}: simulated error` })
          : new KernelLockFailed({ reason: `${code}: simulated error` }),
      () => {
        const file = process.files.get(Number(fd))
        if (kernel.locking === "absent") return Effect.fail(absent)
        if (kernel.locking === "refused") {
          return Effect.fail(new KernelLockUnsupported({ where: "filesystem", reason: "ENOLCK: no locks available" }))
        }
        if (file === undefined) return Effect.fail(new KernelLockFailed({ reason: "EBADF: bad file descriptor" }))
        if (kernel.locking === "grants everything") return Effect.succeed(true)
        const holder = kernel.locks.get(file.inode.ino)
        if (holder !== undefined && holder !== file) return Effect.succeed(false)
        kernel.locks.set(file.inode.ino, file)
        return Effect.succeed(true)
      }
    )
  return KernelLock.of({
    supported: Effect.suspend(() => kernel.locking === "absent" ? Effect.fail(absent) : Effect.void),
    tryLock
  })
}
