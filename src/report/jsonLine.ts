/**
 * The one form of a line on stderr with `--log-format json`: `level`, `timestamp`, `message`, and what else there is to say.
 */
import * as DateTime from "effect/DateTime"
import * as Inspectable from "effect/Inspectable"

export type Level = "DEBUG" | "INFO" | "WARN" | "ERROR" | "FATAL"

/** One line. `level` is one of `Level`, or any other of Effect's log levels. */
export const jsonLine = (
  nowMillis: number,
  level: string,
  message: string,
  fields: Readonly<Record<string, unknown>> = {}
): string =>
  Inspectable.stringifyCircular({
    level,
    timestamp: DateTime.formatIso(DateTime.unsafeMake(nowMillis)),
    message,
    ...fields
  })
