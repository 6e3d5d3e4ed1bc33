/**
 * Reads small files without the thread pool of Node, while this process does nothing else.
 *
 * A start reads some twenty files of a few hundred bytes before it knows that it is refused. For each file, Node passes four or more
 * requests to another thread and back, and starts four threads for that. A start that is alone on its thread delays nothing by
 * reading them itself.
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as MutableRef from "effect/MutableRef"
import * as Fs from "node:fs"

/** Whether nothing else runs in this process yet. The program sets it to `false` before it serves. */
export class IsAlone extends Context.Reference<IsAlone>()("gateway-lock/QuickFiles/IsAlone", {
  defaultValue: () => MutableRef.make(false)
}) {}

/** Larger files are left to the thread pool. A config file, a record and a file of `/proc` are smaller. */
const maxBytes = 1024 * 1024

/** Whether the kernel makes the content of a file. Such a file is read at once: no disk and no other machine is asked. */
const isOfKernel = (path: string): boolean => path.startsWith("/proc/")

/** Calls Node. If the call fails, `otherwise` is run: it makes the same call again, and fails with the error that callers expect. */
const now = <A, E>(call: () => A, otherwise: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(call())
    } catch {
      return otherwise
    }
  })

/**
 * Whether a path names a small regular file. The thread pool is asked, so that a file system that hangs does not stop this
 * process: a signal can still end it.
 */
const isSmallFile = (path: string): Effect.Effect<boolean> =>
  Effect.async((resume) =>
    Fs.stat(path, (error, info) => resume(Effect.succeed(error === null && info.isFile() && info.size <= maxBytes)))
  )

/** The lists of TCP sockets (proc_net(5)). */
const socketTables: ReadonlySet<string> = new Set(["/proc/net/tcp", "/proc/net/tcp6"])

/**
 * A read of a list of sockets that returns less than this has come to its end. The kernel returns as many lines as fit into a page of
 * memory (4096 bytes at least), and no line is longer than 200 bytes.
 */
const lessThanPage = 2048

/**
 * Reads a list of sockets. For each read, the kernel looks for the next socket in its whole table of connections, which takes two
 * milliseconds on a host that has 24 GB of memory and hardly any connection. `readFileSync` reads once more to see the end.
 */
const readSockets = (path: string): Buffer => {
  const fd = Fs.openSync(path, "r")
  try {
    const chunks: Array<Buffer> = []
    for (;;) {
      const chunk = Buffer.allocUnsafe(16 * 1024)
      const bytes = Fs.readSync(fd, chunk)
      chunks.push(chunk.subarray(0, bytes))
      if (bytes < lessThanPage) return Buffer.concat(chunks)
    }
  } finally {
    Fs.closeSync(fd)
  }
}

const readWhole = (path: string): Buffer => socketTables.has(path) ? readSockets(path) : Fs.readFileSync(path)

/** Like `fs`, but reads at once what can be read at once, while `isAlone` is `true`. `platform` is a value of `process.platform`. */
export const make = (
  fs: FileSystem.FileSystem,
  platform: string,
  isAlone: MutableRef.MutableRef<boolean>
): FileSystem.FileSystem => {
  const whileAlone = <A>(
    path: string,
    quick: (path: string) => Effect.Effect<A, PlatformError>,
    otherwise: Effect.Effect<A, PlatformError>
  ): Effect.Effect<A, PlatformError> =>
    Effect.suspend(() => {
      if (!MutableRef.get(isAlone)) return otherwise
      if (isOfKernel(path)) return quick(path)
      return Effect.flatMap(isSmallFile(path), (isSmall) => isSmall ? quick(path) : otherwise)
    })
  return {
    ...fs,
    readFile: (path) => {
      const patient = fs.readFile(path)
      return whileAlone(path, (path) => now(() => new Uint8Array(readWhole(path)), patient), patient)
    },
    readFileString: (path, encoding) => {
      const patient = fs.readFileString(path, encoding)
      const read = (path: string) => new TextDecoder(encoding).decode(readWhole(path))
      return whileAlone(path, (path) => now(() => read(path), patient), patient)
    },
    readLink: (path) => {
      const patient = fs.readLink(path)
      return Effect.suspend(() =>
        MutableRef.get(isAlone) && isOfKernel(path) ? now(() => Fs.readlinkSync(path), patient) : patient
      )
    },
    // On Linux, Node's own walk along a path asks the thread pool once for each folder, and comes to the same result as realpath(3).
    realPath: (path) =>
      platform !== "linux" ?
        fs.realPath(path) :
        Effect.async((resume) =>
          Fs.realpath.native(path, (error, real) => resume(error === null ? Effect.succeed(real) : fs.realPath(path)))
        )
  }
}
