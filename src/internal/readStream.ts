/**
 * Reads a path that is not a regular file: a pipe, a terminal or a device.
 *
 * The read blocks no thread of libuv's pool. An ordinary read would block a thread in read(2), or in open(2) of a pipe without a
 * writer. The thread could not be interrupted while it waits for data. An exit would wait for it, because an exit waits for all
 * threads of the pool (`hasFileRequests` in src/host/endProcess.ts).
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as NodeFs from "node:fs"
import * as NodeNet from "node:net"
import type { Readable } from "node:stream"
import * as NodeTty from "node:tty"

/** The path cannot be read. `reason` is the system's message. */
export class StreamUnreadable extends Data.TaggedError("StreamUnreadable")<{ readonly reason: string }> {}

const { O_NONBLOCK = 0, O_RDONLY } = NodeFs.constants

/** The descriptor of this process that a path such as `/dev/stdin` names. `undefined` for a path that names no descriptor. */
const descriptorOf = (path: string): number | undefined => {
  if (path === "/dev/stdin") return 0
  const digits = /^\/(?:dev|proc\/self)\/fd\/(\d{1,9})$/.exec(path)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

const streamOf = (descriptor: number): Readable => {
  if (NodeTty.isatty(descriptor)) return new NodeTty.ReadStream(descriptor)
  const stat = NodeFs.fstatSync(descriptor)
  return stat.isFIFO() || stat.isSocket()
    ? new NodeNet.Socket({ fd: descriptor, readable: true, writable: false })
    // The descriptor belongs to a device or to an unlinked file. Reading it does not wait for a writer.
    : NodeFs.createReadStream("", { fd: descriptor })
}

const open = (path: string): number => {
  try {
    return NodeFs.openSync(path, O_RDONLY | O_NONBLOCK)
  } catch (cause) {
    // If the path names a descriptor that is a socket, open(2) fails, so the descriptor itself is used. For example, the stdin
    // of a child process that Node started is a socket.
    const descriptor = descriptorOf(path)
    if (descriptor === undefined) throw cause
    return descriptor
  }
}

const unreadable = (cause: unknown) =>
  new StreamUnreadable({ reason: cause instanceof Error ? cause.message.split("\n", 1)[0] ?? "" : String(cause) })

/**
 * Reads all bytes of the pipe, terminal or device, but stops early once more than `limit` bytes were read. A result that is longer
 * than `limit` tells the caller that there were too many bytes.
 */
export const readStream = (path: string, limit: number): Effect.Effect<Uint8Array, StreamUnreadable> =>
  Effect.async((resume) => {
    let stream: Readable
    try {
      stream = streamOf(open(path))
    } catch (cause) {
      return resume(unreadable(cause))
    }
    const chunks: Array<Buffer> = []
    let length = 0
    const done = () => {
      resume(Effect.succeed(Buffer.concat(chunks)))
      stream.destroy()
    }
    stream.on("data", (chunk: Buffer) => {
      chunks.push(chunk)
      length += chunk.length
      if (length > limit) done()
    })
    stream.on("end", done)
    stream.on("error", (cause) => resume(unreadable(cause)))
    return Effect.sync(() => stream.destroy())
  })
