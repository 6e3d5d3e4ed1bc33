/**
 * Configures the format of log lines. Log lines always go to stderr, because stdout is for the output of commands.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as HashSet from "effect/HashSet"
import * as Inspectable from "effect/Inspectable"
import * as Logger from "effect/Logger"
import type * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import { jsonLine } from "../report/jsonLine.ts"
import type { GatewayConfig, LogFormat } from "../settings/GatewayConfig.ts"

export interface TerminalFacts {
  /** Whether stderr is a terminal. */
  readonly isTerminal: boolean
  /** `NO_COLOR` is unset or empty (no-color.org). */
  readonly colors: boolean
}

const textOf = (message: unknown): string =>
  (Array.isArray(message) ? message : [message]).map((part) => Inspectable.toStringUnknown(part, 0)).join(" ")

/** Writes log lines in the same JSON form as errors and notices. */
const jsonLogger = Logger.map(
  Logger.structuredLogger,
  ({ annotations, cause, logLevel, message, spans, timestamp }) =>
    jsonLine(Date.parse(timestamp), logLevel, textOf(message), cause === undefined ? {} : { cause }, {
      annotations,
      spans
    })
)

/** Effect's logfmt without the number of the fiber, which says nothing to a person who operates the program. */
const logfmtLogger = Logger.map(
  Logger.logfmtLogger,
  (line) => line.replace(/^(timestamp=\S+ level=\S+) fiber=\S+/, "$1")
)

/** The codes of the colours (ECMA-48, SGR) in which a terminal shows a level. */
const colorOf: Readonly<Record<LogLevel.LogLevel["_tag"], string>> = {
  All: "0",
  Trace: "90",
  Debug: "34",
  Info: "32",
  Warning: "33",
  Error: "31",
  Fatal: "30;101",
  None: "0"
}

const twoDigits = (value: number): string => String(value).padStart(2, "0")

/** The local time of day, with milliseconds. */
const timeOf = (date: Date): string =>
  `${[date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(":")}.${
    String(date.getMilliseconds()).padStart(3, "0")
  }`

const pair = (key: string, value: unknown): string => {
  const text = Inspectable.toStringUnknown(value, 0)
  return ` ${key}=${/^[^\s"=]+$/.test(text) ? text : JSON.stringify(text)}`
}

/** Writes each log line for a reader at a terminal. Only a cause takes lines of its own. */
const prettyLogger = (hasColors: boolean) =>
  Logger.make<unknown, string>(({ annotations, cause, date, logLevel, message, spans }) => {
    const level = hasColors ? `\u001b[${colorOf[logLevel._tag]}m${logLevel.label}\u001b[0m` : logLevel.label
    const pairs = [
      ...Array.from(spans, ({ label, startTime }) => pair(label, `${date.getTime() - startTime}ms`)),
      ...Array.from(annotations, ([key, value]) => pair(key, value))
    ]
    const whole = Cause.isEmpty(cause) ? "" : `\n${Cause.pretty(cause, { renderErrorCause: true })}`
    return `[${timeOf(date)}] ${level}: ${textOf(message)}${pairs.join("")}${whole}`
  })

export const formatFor = (config: Pick<GatewayConfig, "logFormat">, terminal: TerminalFacts): LogFormat =>
  Option.getOrElse(config.logFormat, () => terminal.isTerminal ? "pretty" : "logfmt")

const loggerOf = (format: LogFormat, hasColors: boolean): Logger.Logger<unknown, string> => {
  switch (format) {
    case "pretty":
      return prettyLogger(hasColors)
    case "logfmt":
      return logfmtLogger
    case "json":
      return jsonLogger
  }
}

const withLogger = (logger: Logger.Logger<unknown, string>, level: LogLevel.LogLevel) => {
  const toStderr = Logger.withConsoleError(logger)
  return <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    self.pipe(
      Effect.locallyWith(
        FiberRef.currentLoggers,
        (present) => HashSet.add(HashSet.remove(present, Logger.defaultLogger), toStderr)
      ),
      Logger.withMinimumLogLevel(level)
    )
}

/** Runs an effect with the configured logger and log level. Layers would do the same, but building them delays each start. */
export const logged = (config: Pick<GatewayConfig, "logFormat" | "logLevel">, terminal: TerminalFacts) =>
  withLogger(loggerOf(formatFor(config, terminal), terminal.isTerminal && terminal.colors), config.logLevel)

/**
 * Runs a command that does not stay. Its log lines look like its other messages on stderr: JSON if that is the format, and otherwise
 * the message alone.
 */
export const loggedAsNotices = (format: LogFormat, level: LogLevel.LogLevel) =>
  withLogger(
    format === "json" ? jsonLogger : Logger.make<unknown, string>(({ message }) => `gateway: ${textOf(message)}`),
    level
  )
