/**
 * Defines one setting: its names, its allowed values, and how a value is decoded or refused.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as DurationText from "../internal/durationText.ts"
import { printable } from "../internal/printable.ts"

/**
 * A setting has a value that is not allowed. The message is one line: setting, value, source, and the allowed values.
 *
 * @since 0.1.0
 * @category errors
 */
export class SettingInvalid extends Data.TaggedError("SettingInvalid")<{
  readonly setting: string
  /** `--port`, `GATEWAY_PORT`, `"port" in /etc/gateway.json`, … */
  readonly source: string
  readonly value: string
  readonly allowed: string
}> {
  override get message() {
    return printable(`invalid ${this.setting} ${this.value} from ${this.source}: expected ${this.allowed}`)
  }
}

/**
 * The times of the lease do not fit together. The message is one line: the relation, the numbers, and what is allowed.
 *
 * @since 0.1.0
 * @category errors
 */
export class LeaseTimesInvalid extends Data.TaggedError("LeaseTimesInvalid")<{
  readonly problems: ReadonlyArray<string>
}> {
  override get message() {
    return printable(`invalid lease times: ${this.problems.join("; ")}`)
  }
}

/**
 * The keywords of JSON Schema (draft 2020-12) that describe a setting.
 *
 * @since 0.1.0
 * @category models
 */
export interface JsonSchema {
  readonly type: string | ReadonlyArray<string>
  readonly pattern?: string
  readonly minLength?: number
  readonly minimum?: number
  readonly maximum?: number
  readonly items?: JsonSchema
}

/**
 * One setting of the gateway, with its names and its decoder.
 *
 * @since 0.1.0
 * @category models
 */
export interface Setting<A> {
  /** The name in words, for messages. */
  readonly name: string
  /** The name of the flag, without dashes. */
  readonly flag?: string
  /** The environment variable. */
  readonly env?: string
  /** The keys that lead to the setting in the config file, from the outermost object. */
  readonly file?: ReadonlyArray<string>
  /** The allowed values in the config file, as far as JSON Schema can express them. */
  readonly json?: JsonSchema
  /** The placeholder for the value in `--help`, such as `<port>`. */
  readonly placeholder: string
  /** One line that describes the setting, for `--help`, the manual page and the JSON Schema of the config file. */
  readonly description: string
  /** The allowed values in words. They follow `expected` in the error message. */
  readonly allowed: string
  /** The default in words. */
  readonly default: string
  /** All allowed values, if the setting allows only a few fixed words. Shell completion offers these words. */
  readonly values?: ReadonlyArray<string>
  /** Whether the value is the path of a file or of a directory. Shell completion then offers such paths. */
  readonly path?: "file" | "directory"
  /** Whether the value is secret. A secret value never appears in a message. */
  readonly isSecret?: boolean
  /**
   * Decodes a value: a string from a flag or a variable, or any JSON from the config file. `None` if the value is not
   * allowed.
   */
  readonly decode: (raw: unknown) => Option.Option<A>
  /** An additional explanation why a value is not allowed. For a secret, the explanation must not contain the value. */
  readonly explain?: (raw: unknown) => Option.Option<string>
}

/** Returns its argument. TypeScript infers the type of the setting's values (`A`) from `decode`. */
export const setting = <A>(setting: Setting<A>): Setting<A> => setting

/** Decodes a string. */
export const text = (raw: unknown): Option.Option<string> => typeof raw === "string" ? Option.some(raw) : Option.none()

/** Decodes a string that matches a pattern. */
export const matching = (pattern: RegExp) => (raw: unknown) => Option.filter(text(raw), (value) => pattern.test(value))

/** Decodes a whole number: a number from the config file, or a string of digits. */
export const wholeNumber = (raw: unknown): Option.Option<number> =>
  typeof raw === "number" && Number.isSafeInteger(raw)
    ? Option.some(raw)
    : Option.map(matching(/^\d{1,15}$/)(raw), Number)

const durationIn = (minimum: Duration.Duration, maximum: Duration.Duration) => (raw: unknown) =>
  Option.filter(
    Option.flatMap(text(raw), DurationText.parse),
    (value) => Duration.greaterThanOrEqualTo(value, minimum) && Duration.lessThanOrEqualTo(value, maximum)
  )

const day = Duration.days(1)
const words = (duration: Duration.Duration): string => {
  const millis = Duration.toMillis(duration)
  const [count, unit] = millis === 0 || millis % 1000 !== 0
    ? [millis, "milli"]
    : millis % 60_000 === 0
    ? [millis / 60_000, "minute"]
    : [millis / 1000, "second"]
  return `${count} ${unit}${count === 1 ? "" : "s"}`
}

/**
 * Makes a setting for a duration from `minimum` (default 0) to one day. Its value is a string with units, as words (`5
 * seconds`) or in short form (`5s`).
 */
export const durationSetting = (options: {
  readonly name: string
  readonly flag?: string
  readonly env?: string
  readonly file?: ReadonlyArray<string>
  readonly description: string
  readonly default: Duration.Duration
  readonly minimum?: Duration.Duration
}): Setting<Duration.Duration> => {
  const minimum = options.minimum ?? Duration.zero
  return {
    ...options,
    placeholder: "<duration>",
    allowed: `a duration from "${words(minimum)}" to "1 day", such as "${words(options.default)}", "${
      DurationText.short(options.default)
    }" or "1m30s" (units: ${DurationText.shortUnits}, or their words)`,
    default: words(options.default),
    ...(options.file === undefined ? {} : { json: { type: "string", pattern: DurationText.pattern } as const }),
    decode: durationIn(minimum, day)
  }
}

/**
 * Makes a setting for a whole number within bounds. The setting has a key in the config file, but no flag and no environment
 * variable.
 */
export const countSetting = (options: {
  readonly name: string
  readonly file: ReadonlyArray<string>
  readonly description: string
  readonly default: number
  readonly minimum: number
  readonly maximum: number
}): Setting<number> => ({
  ...options,
  placeholder: "<number>",
  json: { type: "integer", minimum: options.minimum, maximum: options.maximum },
  allowed: `a whole number from ${options.minimum} to ${options.maximum}`,
  default: String(options.default),
  decode: (raw) => Option.filter(wholeNumber(raw), (n) => n >= options.minimum && n <= options.maximum)
})

/** Decodes a list: a string with commas between the entries, or an array of strings in the config file. */
export const listOf =
  (entry: (text: string) => Option.Option<string>) => (raw: unknown): Option.Option<ReadonlyArray<string>> =>
    (Array.isArray(raw)
      ? Option.all(raw.map(text))
      : Option.map(text(raw), (value) => value.split(",").map((part) => part.trim()))).pipe(
        Option.flatMap((entries) => Option.all(entries.map(entry)))
      )

/** Decodes one of the given words. */
export const oneOf = <const Values extends ReadonlyArray<string>>(values: Values) => {
  const is = (raw: unknown): raw is Values[number] => values.some((value) => value === raw)
  return (raw: unknown): Option.Option<Values[number]> => is(raw) ? Option.some(raw) : Option.none()
}

/** A value before decoding, and its source. */
export interface Given {
  readonly raw: unknown
  readonly source: string
  readonly isInFile?: boolean
}

/** Returns a value as messages show it: as JSON, cut after 100 characters. */
export const showValue = (raw: unknown): string => {
  const json = JSON.stringify(raw) ?? String(raw)
  return json.length > 100 ? `${json.slice(0, 100)}…` : json
}

/** Decodes a value with the decoder of its setting. */
export const decodeGiven = <A>(setting: Setting<A>, given: Given): Effect.Effect<A, SettingInvalid> =>
  Option.match(setting.decode(given.raw), {
    onSome: Effect.succeed,
    onNone: () =>
      new SettingInvalid({
        setting: setting.name,
        source: given.source,
        value: setting.isSecret === true ? "(not shown)" : showValue(given.raw),
        allowed: [setting.allowed, ...Option.toArray(setting.explain?.(given.raw) ?? Option.none())].join("; ")
      })
  })
