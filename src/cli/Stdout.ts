/**
 * Writes the output of commands to stdout. A command whose output cannot be written fails.
 */
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { nameErrno } from "../internal/errno.ts"
import { writeText } from "./writeText.ts"

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

/** Fails with the reason why a text could not be written. */
export const failed = (error: NodeJS.ErrnoException): Effect.Effect<never, OutputFailed> =>
  new OutputFailed({ reason: nameErrno(error.message) })

/**
 * The `Stdout` that writes to stdout of this process. It waits until a pipe, socket or terminal has taken the data, because
 * data that is queued when the process exits is lost.
 */
export const writeLive = (text: string): Effect.Effect<void, OutputFailed> =>
  Effect.async((resume) => writeText(`${text}\n`, (error) => resume(error === undefined ? Effect.void : failed(error))))
