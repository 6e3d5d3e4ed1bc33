/**
 * Passes log lines to the logger of the program.
 */
// The default logger prints before the program has a logger of its own, and must not depend on a fiber.
// @effect-diagnostics globalConsole:off
import * as Array from "effect/Array"
import * as Cause from "effect/Cause"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import type { Logger as ProgramLogger } from "./types.ts"

/** Warnings and errors go to stderr. What only informs is dropped, because a library must not fill the output of a program. */
const toStderr: ProgramLogger = {
  info: () => {},
  warn: (message) => console.error(`gateway-lock: ${message}`),
  error: (message) => console.error(`gateway-lock: ${message}`)
}

const textOf = (message: unknown): string => Array.ensure(message).map(String).join(" ")

/** Logs to `logger` instead of Effect's own logger. */
export const layer = (logger: ProgramLogger = toStderr): Layer.Layer<never> => {
  const write = (level: LogLevel.LogLevel, line: string) => {
    if (LogLevel.greaterThanEqual(level, LogLevel.Error)) logger.error(line)
    else if (LogLevel.greaterThanEqual(level, LogLevel.Warning)) logger.warn(line)
    else if (LogLevel.greaterThanEqual(level, LogLevel.Info)) logger.info(line)
    else logger.debug?.(line)
  }
  const adapted = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
    const line = Cause.isEmpty(cause) ? textOf(message) : `${textOf(message)} ${Cause.pretty(cause)}`
    try {
      write(logLevel, line.trim())
    } catch {
      // A logger that throws must not end the check of a held lock.
    }
  })
  return Layer.merge(
    Logger.replace(Logger.defaultLogger, adapted),
    Logger.minimumLogLevel(logger.debug === undefined ? LogLevel.Info : LogLevel.Debug)
  )
}
