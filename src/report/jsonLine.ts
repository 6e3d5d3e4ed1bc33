/**
 * The form of every line on stderr with `--log-format json`. Five keys are on every line: `timestamp`, `level`, `message`,
 * `annotations` and `spans`. Further keys follow them: `cause`, and those of an error.
 */
import * as DateTime from "effect/DateTime"
import * as Inspectable from "effect/Inspectable"

export type Level = "DEBUG" | "INFO" | "WARN" | "ERROR" | "FATAL"

/** What a log line can carry besides its message. Messages that are no log lines have neither. */
export interface Context {
  readonly annotations: Readonly<Record<string, unknown>>
  /** Milliseconds since the begin of each log span. */
  readonly spans: Readonly<Record<string, number>>
}

const noContext: Context = { annotations: {}, spans: {} }

/** Formats one line. `level` is one of `Level`, or any other of Effect's log levels. */
export const jsonLine = (
  nowMillis: number,
  level: string,
  message: string,
  fields: Readonly<Record<string, unknown>> = {},
  { annotations, spans }: Context = noContext
): string =>
  Inspectable.stringifyCircular({
    timestamp: DateTime.formatIso(DateTime.unsafeMake(nowMillis)),
    level,
    message,
    annotations,
    spans,
    ...fields
  })
