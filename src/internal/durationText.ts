/**
 * Reads and writes durations as people type them.
 *
 * - The words of Effect: `500 millis`, `5 seconds`.
 * - The short forms of systemd.time(7), Go and Docker: `500ms`, `5s`, `1m30s`. All three agree on the meaning of `s`, `m` and `h`.
 * - Further forms of systemd.time(7): `1min 30s`, `2d`.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

/** The nanoseconds of each unit, and all of its names. Names are case-sensitive, because `M` is a month in systemd. */
const units: ReadonlyArray<readonly [nanos: number, names: ReadonlyArray<string>]> = [
  [1, ["ns", "nsec", "nano", "nanos"]],
  // People type both U+00B5 and U+03BC, which look alike.
  [1e3, ["us", "usec", "\u00b5s", "\u03bcs", "micro", "micros"]],
  [1e6, ["ms", "msec", "milli", "millis"]],
  [1e9, ["s", "sec", "second", "seconds"]],
  [60e9, ["m", "min", "minute", "minutes"]],
  [3600e9, ["h", "hr", "hour", "hours"]],
  [86_400e9, ["d", "day", "days"]],
  [604_800e9, ["w", "week", "weeks"]]
]

const nanosOf: ReadonlyMap<string, number> = new Map(
  units.flatMap(([nanos, names]) => names.map((name) => [name, nanos] as const))
)

const names = [...nanosOf.keys()].toSorted((a, b) => b.length - a.length).join("|")

/** A number with its unit. No letter may follow the unit, so that `5 m` does not match the start of `5 months`. */
const term = `(\\d{1,15}(?:\\.\\d{1,15})?)\\s*(${names})(?![a-z\u00b5\u03bc])`

/**
 * A regular expression that matches a text if the whole text is a duration. Its groups do not capture, because JSON Schema uses
 * the expression only to test texts.
 */
export const pattern = `^\\s*(?:${term.replaceAll(/\((?!\?)/g, "(?:")}\\s*)+$`

const whole = new RegExp(pattern)

/** The short names of the units, for messages. */
export const shortUnits = "ms, s, m, h, d"

/** Reads a duration: the sum of one or more numbers with their units. Pure. */
export const parse = (text: string): Option.Option<Duration.Duration> => {
  if (!whole.test(text)) return Option.none()
  let nanos = 0
  for (const [, count, unit] of text.matchAll(new RegExp(term, "g"))) {
    nanos += Number(count) * (nanosOf.get(unit ?? "") ?? Number.NaN)
  }
  return Number.isFinite(nanos) ? Option.some(Duration.nanos(BigInt(Math.round(nanos)))) : Option.none()
}

/** Formats a duration with the largest unit first: `1m30s`, `500ms`. Pure. */
export const short = (duration: Duration.Duration): string => {
  let millis = Math.round(Duration.toMillis(duration))
  const parts: Array<string> = []
  for (const [size, unit] of [[86_400_000, "d"], [3_600_000, "h"], [60_000, "m"], [1000, "s"], [1, "ms"]] as const) {
    const count = Math.floor(millis / size)
    millis -= count * size
    if (count > 0) parts.push(`${count}${unit}`)
  }
  return parts.length === 0 ? "0s" : parts.join("")
}
