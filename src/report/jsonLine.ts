/**
 * The format of every line on stderr with `--log-format json`: `level`, `timestamp`, `message` and additional fields.
 */
import * as DateTime from "effect/DateTime"
import * as Inspectable from "effect/Inspectable"

export type Level = "DEBUG" | "INFO" | "WARN" | "ERROR" | "FATAL"

/** Formats one line. `level` is one of `Level`, or any other of Effect's log levels. */
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
