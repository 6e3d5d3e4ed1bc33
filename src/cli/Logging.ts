/**
 * Configures the format of log lines. Log lines always go to stderr, because stdout is for the output of commands.
 */
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as HashSet from "effect/HashSet"
import * as Inspectable from "effect/Inspectable"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import { jsonLine } from "../report/jsonLine.ts"
import type { GatewayConfig, LogFormat } from "../settings/GatewayConfig.ts"

export interface TerminalFacts {
  /** Whether stderr is a terminal. */
  readonly isTerminal: boolean
  /** `NO_COLOR` is unset or empty (no-color.org). */
  readonly colors: boolean
}

const nonEmpty = (name: string, fields: Readonly<Record<string, unknown>>) =>
  Object.keys(fields).length === 0 ? {} : { [name]: fields }

/** Writes log lines in the same JSON form as errors and notices. */
const jsonLogger = Logger.map(
  Logger.structuredLogger,
  ({ annotations, cause, fiberId, logLevel, message, spans, timestamp }) =>
    jsonLine(
      Date.parse(timestamp),
      logLevel,
      (Array.isArray(message) ? message : [message]).map((part) => Inspectable.toStringUnknown(part, 0)).join(" "),
      {
        fiber: fiberId,
        ...(cause === undefined ? {} : { cause }),
        ...nonEmpty("annotations", annotations),
        ...nonEmpty("spans", spans)
      }
    )
)

export const formatFor = (config: Pick<GatewayConfig, "logFormat">, terminal: TerminalFacts): LogFormat =>
  Option.getOrElse(config.logFormat, () => terminal.isTerminal ? "pretty" : "logfmt")

/** Runs an effect with the configured logger and log level. Layers would do the same, but building them delays each start. */
export const logged = (config: Pick<GatewayConfig, "logFormat" | "logLevel">, terminal: TerminalFacts) => {
  const loggers = {
    pretty: Logger.prettyLogger({ stderr: true, colors: terminal.isTerminal && terminal.colors, mode: "tty" }),
    logfmt: Logger.withConsoleError(Logger.logfmtLogger),
    json: Logger.withConsoleError(jsonLogger)
  }
  const logger = loggers[formatFor(config, terminal)]
  return <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    self.pipe(
      Effect.locallyWith(
        FiberRef.currentLoggers,
        (present) => HashSet.add(HashSet.remove(present, Logger.defaultLogger), logger)
      ),
      Logger.withMinimumLogLevel(config.logLevel)
    )
}
