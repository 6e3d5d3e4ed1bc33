/**
 * One setting: its names, what it may be, and how a value for it is read or refused.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as DurationText from "../internal/durationText.ts"
import { printable } from "../internal/printable.ts"

/**
 * A value that a setting does not allow. One line: setting, value, source, what is allowed.
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
 * One setting of the table.
 *
 * @since 0.1.0
 * @category models
 */
export interface Setting<A> {
  /** In words, for messages. */
  readonly name: string
  /** Without the dashes. */
  readonly flag?: string
  /** The environment variable. */
  readonly env?: string
  /** The way to it through the config file's objects. */
  readonly file?: ReadonlyArray<string>
  /** What it may be there, as far as JSON Schema can say it. */
  readonly json?: JsonSchema
  /** What stands for the value in `--help`. */
  readonly placeholder: string
  /** For `--help` and the README, a line. */
  readonly description: string
  /** What it may be, in words: ends the message of a refusal. */
  readonly allowed: string
  /** The default in words. */
  readonly default: string
  /** The words that it can be, where these are few: for completion. */
  readonly values?: ReadonlyArray<string>
  /** What a path leads to: for completion. */
  readonly path?: "file" | "directory"
  /** Never shown, not even where it is wrong. */
  readonly isSecret?: boolean
  /** A flag and a variable are text; the config file has any JSON. `None`: not allowed. */
  readonly decode: (raw: unknown) => Option.Option<A>
  /** What is wrong with a value that is not allowed, besides; of one that is never shown, without showing it. */
  readonly explain?: (raw: unknown) => Option.Option<string>
}

/** A setting of a table, with the type of its values inferred. */
export const setting = <A>(setting: Setting<A>): Setting<A> => setting

/** A text as it is. */
export const text = (raw: unknown): Option.Option<string> => typeof raw === "string" ? Option.some(raw) : Option.none()

/** A text of a form. */
export const matching = (pattern: RegExp) => (raw: unknown) => Option.filter(text(raw), (value) => pattern.test(value))

/** A number of the config file, or a text of digits. */
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

/** A duration with its unit, in words or short, from `minimum` (default 0) to a day. */
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

/** A whole number within bounds, which only the config file has. */
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

/** In the environment with commas, in the config file also as an array. */
export const listOf =
  (entry: (text: string) => Option.Option<string>) => (raw: unknown): Option.Option<ReadonlyArray<string>> =>
    (Array.isArray(raw)
      ? Option.all(raw.map(text))
      : Option.map(text(raw), (value) => value.split(",").map((part) => part.trim()))).pipe(
        Option.flatMap((entries) => Option.all(entries.map(entry)))
      )

/** One of a few words. */
export const oneOf = <const Values extends ReadonlyArray<string>>(values: Values) => {
  const is = Schema.is(Schema.Literal(...values))
  return (raw: unknown): Option.Option<Values[number]> => is(raw) ? Option.some(raw) : Option.none()
}

/** A value as it was given, and where. */
export interface Given {
  readonly raw: unknown
  readonly source: string
  readonly isInFile?: boolean
}

/** A value as messages show it. */
export const showValue = (raw: unknown): string => {
  const json = JSON.stringify(raw) ?? String(raw)
  return json.length > 100 ? `${json.slice(0, 100)}…` : json
}

/** Decodes a value as a setting does. */
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
