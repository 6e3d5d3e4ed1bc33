/**
 * The common part of the file system calls of a simulated process. Each call is one step of the simulated kernel. A call
 * that fails reports an errno name such as `ENOENT`.
 *
 * @since 0.1.0
 */
import { type PlatformError, SystemError, type SystemErrorReason } from "@effect/platform/Error"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { may, permission, resolve } from "./PathResolution.ts"
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

/** The error of a file system call that fails with an errno name such as `ENOENT`. */
export const systemError = (method: string, path: string) => (code: string): PlatformError =>
  new SystemError({
    module: "FileSystem",
    method,
    reason: reasons[code] ?? "Unknown",
    pathOrDescriptor: path,
    description: `${code}: ${texts[code] ?? "simulated error"}, ${method} '${path}'`
  }, { disableValidation: true })

/** Makes a call fail with an errno name such as `ENOENT`. */
export type Fail = (code: string) => Effect.Effect<never, PlatformError>

/** The place of a file name: the full path, and the folder that contains the name. The name need not exist. */
export interface Place {
  readonly path: string
  readonly parent: Inode
}

/** The functions from which the file system calls of one simulated process are built. */
export interface FileCalls {
  readonly kernel: SimulatedKernel
  readonly process: KernelProcess
  /** Runs one system call on a path or on an open file. */
  readonly call: <A>(
    name: string,
    path: string,
    body: (fail: Fail, now: number) => Effect.Effect<A, PlatformError>,
    opened?: OpenFile
  ) => Effect.Effect<A, PlatformError>
  /** Calls `found` with the inode at a path. Fails with `ENOENT` if the path has no inode. */
  readonly existing: <A>(
    path: string,
    fail: Fail,
    found: (inode: Inode, place: Place) => Effect.Effect<A, PlatformError>,
    follow?: boolean
  ) => Effect.Effect<A, PlatformError>
  /**
   * Checks whether the process may add a name to a folder, or may remove `removed` from the folder. Returns `undefined` if
   * the process may, and otherwise the errno name of the failure.
   */
  readonly folderFault: (parent: Inode, removed?: Inode) => string | undefined
  /** Creates an empty inode under a name that does not exist yet. */
  readonly create: (
    place: Place,
    type: NodeType,
    mode: number,
    now: number,
    fail: Fail
  ) => Effect.Effect<Inode, PlatformError>
}

/** Returns the functions from which the file system calls of one simulated process are built. */
export const makeFileCalls = (kernel: SimulatedKernel, process: KernelProcess): FileCalls => {
  const call: FileCalls["call"] = (name, path, body, opened) => {
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

  const existing: FileCalls["existing"] = (path, fail, found, follow = true) => {
    const place = resolve(kernel, process, path, follow)
    if (place._tag === "Fault") return fail(place.code)
    return place.inode === undefined ? fail("ENOENT") : found(place.inode, place)
  }

  const folderFault: FileCalls["folderFault"] = (parent, removed) => {
    if (parent.type !== "Directory") return "ENOTDIR"
    if (kernel.readOnly) return "EROFS"
    if (!may(process, parent, permission.write) || !may(process, parent, permission.execute)) return "EACCES"
    const sticky = (parent.mode & 0o1000) !== 0
    return sticky && removed !== undefined && process.uid !== 0 && removed.uid !== process.uid
        && parent.uid !== process.uid
      ? "EPERM"
      : undefined
  }

  const create: FileCalls["create"] = (place, type, mode, now, fail) => {
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

  return { kernel, process, call, existing, folderFault, create }
}
