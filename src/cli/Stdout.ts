/**
 * Writes the output of commands to stdout. A command whose output cannot be written fails.
 */
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as NodeFs from "node:fs"
import { Socket } from "node:net"
import { nameErrno } from "../internal/errno.ts"

/** The output could not be written, for example because the disk is full or the terminal was closed. */
export class OutputFailed extends Data.TaggedError("OutputFailed")<{ readonly reason: string }> {
  override get message() {
    return `failed to write the output: ${this.reason}`
  }
}

/** Writes a text and a newline. The default writes to the console, which does not report failures. */
export class Stdout extends Context.Reference<Stdout>()("gateway-lock/cli/Stdout", {
  defaultValue: (): (text: string) => Effect.Effect<void, OutputFailed> => (text) => Console.log(text)
}) {}

/** Writes a part of the output. Completes when the text is written, or when the reader has closed its end of the pipe. */
export const print = (text: string): Effect.Effect<void, OutputFailed> => Effect.flatMap(Stdout, (write) => write(text))

// ---------------------------------------------------------------------------
// stdout of this process
// ---------------------------------------------------------------------------

const stdoutDescriptor = 1

/** Whether the reader has closed its end of the pipe, as `| head -1` does after the first line. */
const isUnread = (error: NodeJS.ErrnoException): boolean =>
  error.code === "EPIPE" || error.code === "ERR_STREAM_DESTROYED"

type Done = (error: NodeJS.ErrnoException | null | undefined) => void

/**
 * Writes until all data is written. Node's own stream for files treats a partial write as complete
 * (`SyncWriteStream.prototype._write` in lib/internal/fs/sync_write_stream.js). A full disk can cause a partial write, and the
 * rest of the output would be lost without an error.
 */
const writeFile = (data: Buffer, done: Done): void => {
  NodeFs.write(stdoutDescriptor, data, (error, written) => {
    if (error !== null || written === data.length) return done(error)
    writeFile(data.subarray(written), done)
  })
}

/**
 * Syncs stdout, because NFS reports some write errors only when a file is synced. `EINVAL` and `EROFS` mean that stdout is not
 * a file that can be synced, so they are not failures.
 */
const flush = (done: Done): void => {
  NodeFs.fdatasync(
    stdoutDescriptor,
    (error) => done(error?.code === "EINVAL" || error?.code === "EROFS" ? null : error)
  )
}

/**
 * The `Stdout` that writes to stdout of this process. It waits until a pipe, socket or terminal has taken the data, because
 * data that is queued when the process exits is lost.
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
