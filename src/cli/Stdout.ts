/**
 * Where a command's answer goes. An answer that did not get there is a failure of the command.
 */
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as NodeFs from "node:fs"
import { Socket } from "node:net"
import { nameErrno } from "../internal/errno.ts"

/** The answer cannot be written: a full disk, a limit, a terminal that has gone. */
export class OutputFailed extends Data.TaggedError("OutputFailed")<{ readonly reason: string }> {
  override get message() {
    return `failed to write the output: ${this.reason}`
  }
}

/** Writes a text and a newline. By default to the console, which tells nothing of failures. */
export class Stdout extends Context.Reference<Stdout>()("gateway-lock/cli/Stdout", {
  defaultValue: (): (text: string) => Effect.Effect<void, OutputFailed> => (text) => Console.log(text)
}) {}

/** Writes a part of the answer. Completes when it is written, or when nobody reads any more. */
export const print = (text: string): Effect.Effect<void, OutputFailed> => Effect.flatMap(Stdout, (write) => write(text))

// ---------------------------------------------------------------------------
// of this process
// ---------------------------------------------------------------------------

const stdoutDescriptor = 1

/** The reader has gone: `| head -1` has what it wants. */
const isUnread = (error: NodeJS.ErrnoException): boolean =>
  error.code === "EPIPE" || error.code === "ERR_STREAM_DESTROYED"

type Done = (error: NodeJS.ErrnoException | null | undefined) => void

/** Node's own stream for files takes a write of which a part fits for a whole one. */
const writeFile = (data: Buffer, done: Done): void => {
  NodeFs.write(stdoutDescriptor, data, (error, written) => {
    if (error !== null || written === data.length) return done(error)
    writeFile(data.subarray(written), done)
  })
}

/** What some file systems (NFS) find out only now. What cannot be synchronized is no file of theirs. */
const flush = (done: Done): void => {
  NodeFs.fdatasync(
    stdoutDescriptor,
    (error) => done(error?.code === "EINVAL" || error?.code === "EROFS" ? null : error)
  )
}

/**
 * `Stdout` of this very process. Pipes, sockets and terminals are waited for: what is queued at its end, a process does not
 * write.
 */
export const writeLive = (text: string): Effect.Effect<void, OutputFailed> =>
  Effect.async((resume) => {
    const done: Done = (error) =>
      resume(
        error === null || error === undefined || isUnread(error)
          ? Effect.void
          : new OutputFailed({ reason: nameErrno(error.message) })
      )
    const data = Buffer.from(`${text}\n`)
    if (process.stdout instanceof Socket) process.stdout.write(data, done)
    else writeFile(data, (error) => error === null || error === undefined ? flush(done) : done(error))
  })
