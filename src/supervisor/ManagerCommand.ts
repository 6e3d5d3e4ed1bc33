/**
 * Runs a command-line program of a service manager, such as systemctl.
 */
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { child, run as runChild } from "../internal/child.ts"
import { describePlatformError, isNotFound } from "../internal/describeError.ts"
import { formatDuration } from "../internal/formatDuration.ts"
import { adviceFor, ServiceFailed } from "./ServiceFailed.ts"
import { longestStop } from "./ServiceOptions.ts"
import { type Place, showWord } from "./ServiceSteps.ts"

/** How a program ended. */
export interface Outcome {
  readonly status: number
  /** The output of the program, on one line: its stderr, or its stdout if stderr is empty. */
  readonly output: string
  readonly stdout: string
}

type Options = Pick<Place, "manager" | "service">

type Words = readonly [string, ...Array<string>]

/** Makes the error of a program that could not be run. */
export const failed = (options: Options, words: Words, reason: string, advice = adviceFor(options)): ServiceFailed =>
  new ServiceFailed({ what: "failed to run", where: words.map(showWord).join(" "), reason, advice })

/** Makes the error of a program that this machine does not have. */
export const notFound = (options: Options, words: Words): ServiceFailed =>
  failed(
    options,
    words,
    `program ${words[0]} was not found`,
    "name the service manager of this machine with --manager"
  )

/**
 * Runs a command-line program of the service manager, and waits until that program ends. The program may itself wait until the
 * service has stopped. So the time limit of the program is the longest time that such a stop can take, plus 30 seconds.
 */
export const execute = (
  options: Options,
  words: Words
): Effect.Effect<Outcome, ServiceFailed, CommandExecutor.CommandExecutor> => {
  const [program, ...args] = words
  const limit = Duration.sum(longestStop(options.service), Duration.seconds(30))
  const text = <E>(stream: Stream.Stream<Uint8Array, E>) => Stream.mkString(Stream.decodeText(stream))
  return runChild(child(program, ...args), limit, ({ exitCode, stderr, stdout }) =>
    Effect.map(
      Effect.all([exitCode, text(stderr), text(stdout)], { concurrency: "unbounded" }),
      ([status, stderr, stdout]) => ({ status, output: oneLine(stderr.trim() === "" ? stdout : stderr), stdout })
    )).pipe(
      Effect.mapError((error) =>
        error._tag === "TimeoutException"
          ? failed(options, words, `it did not end within ${formatDuration(limit)}`)
          : isNotFound(error)
          ? notFound(options, words)
          : failed(options, words, describePlatformError(error))
      )
    )
}

const oneLine = (text: string): string => text.trim().replace(/\s*[\r\n]+\s*/g, " / ").slice(0, 300)
