/**
 * Where a command's answer goes. An answer that did not get there is a failure of the command.
 */
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"

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
