/**
 * File operations that can run as blocking calls, instead of in libuv's thread pool.
 *
 * A call in the thread pool takes some fifty microseconds longer than the call itself, and on a busy machine some milliseconds,
 * because two threads must be scheduled one after the other. A start that has nothing to serve yet can make its calls itself.
 *
 * A blocking call stops the event loop for its time. So calls run in the thread pool except within `blockingIf`, and that is used
 * only while the process serves nothing, and only for the files of a local file system.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Fs from "node:fs"
import { platformError } from "../internal/platformError.ts"

const blocks = FiberRef.unsafeMake(false)

/** Whether this fiber makes blocking calls. */
export const isBlocking: Effect.Effect<boolean> = FiberRef.get(blocks)

/** If `condition` is true, runs an effect with blocking calls. Has no effect on other file systems than that of `layer`. */
export const blockingIf = (condition: boolean) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  condition ? Effect.locally(self, blocks, true) : self

/**
 * Whether a start may make blocking calls on the files of a folder. By default it may not, because a library does not know what
 * else its process serves.
 */
export class BlockingFiles extends Context.Reference<BlockingFiles>()("gateway-lock/BlockingFiles", {
  defaultValue: (): { readonly isAllowed: (folder: string) => Effect.Effect<boolean> } => ({
    isAllowed: () => Effect.succeed(false)
  })
}) {}

/**
 * Linux file systems whose calls wait for no other machine and no other process. So network file systems and FUSE are not among
 * them.
 */
const localTypes: ReadonlySet<string> = new Set([
  "ext2",
  "ext3",
  "ext4",
  "xfs",
  "btrfs",
  "tmpfs",
  "overlay",
  "zfs",
  "f2fs",
  "bcachefs"
])

/** Decodes the octal escapes of spaces, tabs, newlines and backslashes in a path. */
const unescaped = (path: string): string =>
  path.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)))

/**
 * The type of the file system of a path, by the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)). Of several mounts on one
 * mount point, the last one is seen. Pure.
 *
 * @internal
 */
export const fileSystemOf = (path: string, mountinfo: string): string | undefined => {
  const isWithin = (mount: string) => mount === "/" || path === mount || path.startsWith(`${mount}/`)
  let longest = ""
  let found: string | undefined
  for (const line of mountinfo.split("\n")) {
    const [before = "", after = ""] = line.split(" - ", 2)
    const mount = unescaped(before.split(" ", 5)[4] ?? "")
    if (mount.length < longest.length || mount === "" || !isWithin(mount)) continue
    longest = mount
    found = after.split(" ", 1)[0]
  }
  return found
}

/** Whether the files of a folder are on a local file system. Asks only the kernel, because the file system may not answer. */
const isLocal = (folder: string): boolean => {
  try {
    return localTypes.has(fileSystemOf(folder, Fs.readFileSync("/proc/self/mountinfo", "utf8")) ?? "")
  } catch {
    return false
  }
}

/** Allows blocking calls on local file systems of Linux. `folder` must be a path without links. */
export const local: BlockingFiles["Type"] = { isAllowed: (folder) => Effect.sync(() => isLocal(folder)) }

// ---------------------------------------------------------------------------
// operations
// ---------------------------------------------------------------------------

type Done<A> = (error: NodeJS.ErrnoException | null, value: A) => void

/** A call in the thread pool. */
const inPool = <A>(
  method: string,
  target: string | number,
  run: (done: Done<A>) => void
): Effect.Effect<A, PlatformError> =>
  Effect.async((resume) => {
    const fail = (cause: unknown) => resume(Exit.fail(platformError(method, target, cause)))
    try {
      run((error, value) => error === null ? resume(Exit.succeed(value)) : fail(error))
    } catch (cause) {
      fail(cause)
    }
  })

/** A call that blocks within `blockingIf`, and otherwise runs as `pooled`. */
const either = <A>(
  method: string,
  target: string | number,
  block: () => A,
  pooled: () => Effect.Effect<A, PlatformError>
): Effect.Effect<A, PlatformError> =>
  Effect.withFiberRuntime((fiber) => {
    if (!fiber.getFiberRef(blocks)) return pooled()
    try {
      return Exit.succeed(block())
    } catch (cause) {
      return Exit.fail(platformError(method, target, cause))
    }
  })

const typeOf = (stats: Fs.Stats): FileSystem.File.Type =>
  stats.isFile()
    ? "File"
    : stats.isDirectory()
    ? "Directory"
    : stats.isBlockDevice()
    ? "BlockDevice"
    : stats.isCharacterDevice()
    ? "CharacterDevice"
    : stats.isFIFO()
    ? "FIFO"
    : stats.isSocket()
    ? "Socket"
    : "Unknown"

const infoOf = (stats: Fs.Stats): FileSystem.File.Info => ({
  type: typeOf(stats),
  mtime: Option.some(stats.mtime),
  atime: Option.some(stats.atime),
  birthtime: Option.some(stats.birthtime),
  dev: stats.dev,
  rdev: Option.some(stats.rdev),
  ino: Option.some(stats.ino),
  mode: stats.mode,
  nlink: Option.some(stats.nlink),
  uid: Option.some(stats.uid),
  gid: Option.some(stats.gid),
  size: FileSystem.Size(stats.size),
  blksize: Option.some(FileSystem.Size(stats.blksize)),
  blocks: Option.some(stats.blocks)
})

/**
 * An open file whose operations can block. It has the position itself, so that blocking and pooled operations share it. As with
 * the files of `@effect/platform-node`, operations of one file must not run at the same time.
 */
const makeFile = (fd: number): FileSystem.File => {
  let position = 0
  const readInto = (method: string, buffer: Uint8Array) =>
    Effect.map(
      either(
        method,
        fd,
        () => Fs.readSync(fd, buffer, 0, buffer.length, position),
        () => inPool<number>(method, fd, (done) => Fs.read(fd, buffer, 0, buffer.length, position, done))
      ),
      (length) => {
        position += length
        return length
      }
    )
  const writeFrom = (method: string, buffer: Uint8Array) =>
    Effect.map(
      either(
        method,
        fd,
        () => Fs.writeSync(fd, buffer, 0, buffer.length, position),
        () => inPool<number>(method, fd, (done) => Fs.write(fd, buffer, 0, buffer.length, position, done))
      ),
      (length) => {
        position += length
        return length
      }
    )
  const writeAll = (buffer: Uint8Array): Effect.Effect<void, PlatformError> =>
    Effect.flatMap(writeFrom("writeAll", buffer), (length) =>
      length === buffer.length
        ? Effect.void
        : length > 0
        ? writeAll(buffer.subarray(length))
        : Effect.fail(platformError("writeAll", fd, Object.assign(new Error("0 bytes were written"), { errno: 0 }))))
  return {
    [FileSystem.FileTypeId]: FileSystem.FileTypeId,
    fd: FileSystem.FileDescriptor(fd),
    stat: Effect.map(
      either("stat", fd, () => Fs.fstatSync(fd), () => inPool<Fs.Stats>("stat", fd, (done) => Fs.fstat(fd, done))),
      infoOf
    ),
    // Waits for the disk, so it never blocks the thread.
    sync: inPool<void>("sync", fd, (done) => Fs.fsync(fd, (error) => done(error))),
    seek: (offset, from) =>
      Effect.sync(() => {
        position = from === "start" ? Number(offset) : position + Number(offset)
        return FileSystem.Size(position)
      }),
    read: (buffer) => Effect.map(readInto("read", buffer), FileSystem.Size),
    readAlloc: (size) =>
      Effect.suspend(() => {
        const buffer = Buffer.allocUnsafeSlow(Number(size))
        return Effect.map(
          readInto("readAlloc", buffer),
          (length) => length === 0 ? Option.none() : Option.some(buffer.subarray(0, length))
        )
      }),
    truncate: (length) => {
      const size = Number(length ?? 0)
      return Effect.map(
        either(
          "truncate",
          fd,
          () => Fs.ftruncateSync(fd, size),
          () => inPool<void>("truncate", fd, (done) => Fs.ftruncate(fd, size, (error) => done(error)))
        ),
        () => {
          position = Math.min(position, size)
        }
      )
    },
    write: (buffer) => Effect.map(writeFrom("write", buffer), FileSystem.Size),
    writeAll
  }
}

const closeFile = (fd: number): Effect.Effect<void> =>
  Effect.orDie(
    either(
      "open",
      fd,
      () => Fs.closeSync(fd),
      () => inPool<void>("open", fd, (done) => Fs.close(fd, (error) => done(error)))
    )
  )

/** The operations that starts make on lock files. All others, and all calls outside of `blockingIf`, are those of `files`. */
export const make = (files: FileSystem.FileSystem): FileSystem.FileSystem => ({
  ...files,
  open: (path, options) => {
    const flag = options?.flag ?? "r"
    // The position of a file that is opened to append is its end, which only `files` knows about.
    if (flag.startsWith("a")) return files.open(path, options)
    return Effect.map(
      Effect.acquireRelease(
        either(
          "open",
          path,
          () => Fs.openSync(path, flag, options?.mode),
          () => inPool<number>("open", path, (done) => Fs.open(path, flag, options?.mode, done))
        ),
        closeFile
      ),
      makeFile
    )
  },
  stat: (path) => either("stat", path, () => infoOf(Fs.statSync(path)), () => files.stat(path)),
  readLink: (path) => either("readLink", path, () => Fs.readlinkSync(path), () => files.readLink(path)),
  readFile: (path) => either("readFile", path, () => Fs.readFileSync(path), () => files.readFile(path)),
  readDirectory: (path, options) =>
    options?.recursive === true
      ? files.readDirectory(path, options)
      : either("readDirectory", path, () => Fs.readdirSync(path), () => files.readDirectory(path)),
  makeDirectory: (path, options) =>
    options?.recursive === true
      ? files.makeDirectory(path, options)
      : either(
        "makeDirectory",
        path,
        () => Fs.mkdirSync(path, options?.mode),
        () => files.makeDirectory(path, options)
      ),
  link: (from, to) => either("link", from, () => Fs.linkSync(from, to), () => files.link(from, to)),
  rename: (from, to) => either("rename", from, () => Fs.renameSync(from, to), () => files.rename(from, to)),
  remove: (path, options) =>
    options === undefined
      // Starts remove only files. Node's `rm` would ask twice whether this one is a folder.
      ? either("remove", path, () => Fs.unlinkSync(path), () => files.remove(path))
      : files.remove(path, options)
})

/** The file system of this machine, with operations that block within `blockingIf`. */
export const layer: Layer.Layer<FileSystem.FileSystem> = Layer.effect(
  FileSystem.FileSystem,
  Effect.map(FileSystem.FileSystem, make)
).pipe(Layer.provide(NodeFileSystem.layer))
