/**
 * `FileSystem` and `KernelLock` over a simulated kernel.
 *
 * The file system is one tree with a limited capacity. An inode can have several names, and an open file stays usable after its
 * last name is removed. When a process ends, the kernel releases the locks of that process.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import { fromCalls, KernelLock, KernelLockUnsupported } from "../host/KernelLock.ts"
import type { NativeFiles } from "../host/NativeFiles.ts"
import * as FileAttributes from "./FileAttributes.ts"
import { makeFileCalls, systemError } from "./FileCalls.ts"
import * as FileContents from "./FileContents.ts"
import * as FolderEntries from "./FolderEntries.ts"
import { resolve } from "./PathResolution.ts"
import * as SimulatedAddon from "./SimulatedAddon.ts"
import { type Inode, type KernelProcess, type SimulatedKernel, systemCall } from "./SimulatedKernel.ts"

/**
 * The service `NativeFiles` for one process. It reports the facts about a file that `FileSystem` does not report.
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
      if (typeof file === "string") return at("stat", file, (inode) => FileAttributes.identityAt(kernel, inode))
      const error = systemError("fstat", String(file))
      return systemCall(kernel, process, { name: "fstat", target: String(file) }, error, () => {
        const open = process.files.get(file)
        return open === undefined
          ? Effect.fail(error("EBADF"))
          : Effect.succeed(FileAttributes.identityOfOpen(kernel, open.inode))
      })
    },
    realPath: (path) => at("realpath", path, (_, path) => path)
  }
}

/**
 * The service `FileSystem` for one process, with the permissions of the user of that process.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeFileSystem = (kernel: SimulatedKernel, process: KernelProcess): FileSystem.FileSystem => {
  const calls = makeFileCalls(kernel, process)
  return FileSystem.make({
    ...FileSystem.makeNoop({}),
    open: FileContents.open(calls),
    readFile: FileContents.readFile(calls),
    writeFile: FileContents.writeFile(calls),
    access: FileAttributes.access(calls),
    stat: FileAttributes.stat(calls),
    chmod: FileAttributes.chmod(calls),
    utimes: FileAttributes.utimes(calls),
    readLink: FolderEntries.readLink(calls),
    realPath: FolderEntries.realPath(calls),
    symlink: FolderEntries.symlink(calls),
    link: FolderEntries.link(calls),
    rename: FolderEntries.rename(calls),
    remove: FolderEntries.remove(calls),
    makeDirectory: FolderEntries.makeDirectory(calls),
    makeTempDirectory: FolderEntries.makeTempDirectory(calls),
    makeTempDirectoryScoped: FolderEntries.makeTempDirectoryScoped(calls),
    readDirectory: FolderEntries.readDirectory(calls)
  })
}

/**
 * `KernelLock` for one process. It runs the same code as on a real host. Only the native addon is simulated, so no real
 * lock is taken.
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
