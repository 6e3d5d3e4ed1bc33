/**
 * Writes to stdout of this process. Without Effect, so that `gateway --version` need not load it.
 */
import { fdatasync, write } from "node:fs"
import { Socket } from "node:net"

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
  write(stdoutDescriptor, data, (error, written) => {
    if (error !== null || written === data.length) return done(error)
    writeFile(data.subarray(written), done)
  })
}

/**
 * Syncs stdout, because NFS reports some write errors only when a file is synced. `EINVAL` and `EROFS` mean that stdout is not
 * a file that can be synced, so they are not failures.
 */
const flush = (done: Done): void => {
  fdatasync(
    stdoutDescriptor,
    (error) => done(error?.code === "EINVAL" || error?.code === "EROFS" ? null : error)
  )
}

/**
 * Writes a text, and calls `ended` once a pipe, socket or terminal has taken it, because data that is queued when the process exits
 * is lost. If the text could not be written, `ended` gets the reason. A reader that has closed its end is no failure, and `isGone`
 * is then true.
 */
export const writeText = (
  text: string,
  ended: (failed: NodeJS.ErrnoException | undefined, isGone: boolean) => void
): void => {
  const done: Done = (error) => {
    const isGone = error !== null && error !== undefined && isUnread(error)
    ended(error === null || error === undefined || isGone ? undefined : error, isGone)
  }
  const data = Buffer.from(text)
  if (process.stdout instanceof Socket) process.stdout.write(data, done)
  else writeFile(data, (error) => error === null || error === undefined ? flush(done) : done(error))
}
