/**
 * The lock files of a rehearsal, in memory. They have the operations that a start uses, and no others.
 */
import { type PlatformError, SystemError, type SystemErrorReason } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import * as KernelLock from "../host/KernelLock.ts"

interface Node {
  readonly ino: number
  bytes: Uint8Array
}

const refused = (method: string, path: string, reason: SystemErrorReason): PlatformError =>
  new SystemError({ module: "FileSystem", method, reason, pathOrDescriptor: path })

const infoOf = (type: "File" | "Directory", ino: number, size: number): FileSystem.File.Info => ({
  type,
  mtime: Option.none(),
  atime: Option.none(),
  birthtime: Option.none(),
  dev: 1,
  rdev: Option.none(),
  ino: Option.some(ino),
  mode: type === "File" ? 0o100600 : 0o40700,
  nlink: Option.some(1),
  uid: Option.fromNullable(process.getuid?.()),
  gid: Option.none(),
  size: FileSystem.Size(size),
  blksize: Option.none(),
  blocks: Option.none()
})

/** An open file. */
const makeFile = (fd: number, node: Node): FileSystem.File => {
  let position = 0
  const write = (buffer: Uint8Array) =>
    Effect.sync(() => {
      const bytes = new Uint8Array(Math.max(node.bytes.length, position + buffer.length))
      bytes.set(node.bytes)
      bytes.set(buffer, position)
      node.bytes = bytes
      position += buffer.length
      return FileSystem.Size(buffer.length)
    })
  const read = (length: number) =>
    Effect.sync(() => {
      const bytes = node.bytes.subarray(position, position + length)
      position += bytes.length
      return bytes
    })
  return {
    [FileSystem.FileTypeId]: FileSystem.FileTypeId,
    fd: FileSystem.FileDescriptor(fd),
    stat: Effect.sync(() => infoOf("File", node.ino, node.bytes.length)),
    sync: Effect.void,
    seek: (offset) =>
      Effect.sync(() => {
        position = Number(offset)
        return FileSystem.Size(position)
      }),
    read: () => Effect.succeed(FileSystem.Size(0)),
    readAlloc: (size) =>
      Effect.map(read(Number(size)), (bytes) => bytes.length === 0 ? Option.none() : Option.some(bytes)),
    truncate: (length) =>
      Effect.sync(() => {
        node.bytes = node.bytes.slice(0, Number(length ?? 0))
      }),
    write,
    writeAll: (buffer) => Effect.asVoid(write(buffer))
  }
}

/** Files in memory, and kernel locks on them. `content` are the files at the beginning, in existing folders. */
export const make = (content: Readonly<Record<string, Uint8Array>>) => {
  let numbers = 1
  const nodes = new Map<string, Node>()
  for (const [path, bytes] of Object.entries(content)) nodes.set(path, { ino: ++numbers, bytes })
  const folders = new Set(Object.keys(content).map((path) => NodePath.dirname(path)))
  const open = new Map<number, Node>()
  const locked = new Map<Node, number>()

  const find = (method: string, path: string): Effect.Effect<Node, PlatformError> =>
    Effect.suspend(() => {
      const node = nodes.get(path)
      return node === undefined ? Effect.fail(refused(method, path, "NotFound")) : Effect.succeed(node)
    })
  const add = (method: string, path: string, node: Node): Effect.Effect<Node, PlatformError> =>
    Effect.suspend(() => {
      if (nodes.has(path)) return Effect.fail(refused(method, path, "AlreadyExists"))
      nodes.set(path, node)
      return Effect.succeed(node)
    })
  const close = (fd: number) =>
    Effect.sync(() => {
      const node = open.get(fd)
      open.delete(fd)
      if (node !== undefined && locked.get(node) === fd) locked.delete(node)
    })

  const files = FileSystem.makeNoop({
    open: (path, { flag = "r" } = {}) =>
      Effect.map(
        Effect.acquireRelease(
          Effect.map(
            flag.startsWith("wx")
              ? add("open", path, { ino: ++numbers, bytes: new Uint8Array() })
              : find("open", path),
            (node) => {
              const fd = ++numbers
              open.set(fd, node)
              return { fd, node }
            }
          ),
          ({ fd }) => close(fd)
        ),
        ({ fd, node }) => makeFile(fd, node)
      ),
    stat: (path) =>
      Effect.suspend(() =>
        folders.has(path)
          ? Effect.succeed(infoOf("Directory", 1, 0))
          : Effect.map(find("stat", path), ({ bytes, ino }) => infoOf("File", ino, bytes.length))
      ),
    readLink: (path) =>
      Effect.suspend(() =>
        Effect.fail(refused("readLink", path, nodes.has(path) || folders.has(path) ? "Unknown" : "NotFound"))
      ),
    readDirectory: (path) =>
      Effect.sync(() =>
        [...nodes.keys()].flatMap((name) => NodePath.dirname(name) === path ? [NodePath.basename(name)] : [])
      ),
    link: (from, to) => Effect.asVoid(Effect.flatMap(find("link", from), (node) => add("link", to, node))),
    remove: (path) => Effect.asVoid(Effect.tap(find("remove", path), () => Effect.sync(() => nodes.delete(path))))
  })

  const kernel = KernelLock.KernelLock.of({
    supported: Effect.void,
    tryLock: (fd) =>
      Effect.sync(() => {
        const node = open.get(Number(fd))
        if (node === undefined || locked.has(node)) return false
        locked.set(node, Number(fd))
        return true
      }),
    isLocked: (fd) =>
      Effect.sync(() => {
        const node = open.get(Number(fd))
        return node !== undefined && locked.has(node)
      })
  })
  return { files, kernel }
}
