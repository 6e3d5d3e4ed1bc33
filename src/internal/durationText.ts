/**
 * Durations as people write them: the words of Effect (`500 millis`, `5 seconds`), and the short forms of systemd.time(7), Go
 * and Docker (`500ms`, `5s`, `1m30s`, `1min 30s`). The three agree on what `s`, `m` and `h` are.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

/** Nanoseconds of each unit, by every name that it has. Case counts: `M` is a month to systemd. */
const units: ReadonlyArray<readonly [nanos: number, names: ReadonlyArray<string>]> = [
  [1, ["ns", "nsec", "nano", "nanos"]],
  // U+00B5 and U+03BC look alike, and both are typed.
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

/** A number with its unit. What follows is another, or the end: `5 s` is no five of a unit that begins with an `s`. */
const term = `(\\d{1,15}(?:\\.\\d{1,15})?)\\s*(${names})(?![a-z\u00b5\u03bc])`

/** The whole of a text that is a duration, as a regular expression of JSON Schema. */
export const pattern = `^\\s*(?:${term.replaceAll(/\((?!\?)/g, "(?:")}\\s*)+$`

const whole = new RegExp(pattern)

/** The short names, for messages. */
export const shortUnits = "ms, s, m, h, d"

/**
 * Reads a duration: one number with its unit, or several that are added up. Pure.
 */
export const parse = (text: string): Option.Option<Duration.Duration> => {
  if (!whole.test(text)) return Option.none()
  let nanos = 0
  for (const [, count, unit] of text.matchAll(new RegExp(term, "g"))) {
    nanos += Number(count) * (nanosOf.get(unit ?? "") ?? Number.NaN)
  }
  return Number.isFinite(nanos) ? Option.some(Duration.nanos(BigInt(Math.round(nanos)))) : Option.none()
}

/** As systemd and Go write it, from the largest unit: `1m30s`; `500ms` for the smallest. Pure. */
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
