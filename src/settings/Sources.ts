/**
 * Finds the source of each setting's value. Precedence: flag, environment variable, config file, default.
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { ifSet } from "../internal/environment.ts"
import * as ConfigFile from "./ConfigFile.ts"
import { decodeGiven, type Given, type Setting, type SettingInvalid } from "./Setting.ts"

const fromEnvironment = (name: string): Effect.Effect<Option.Option<Given>, ConfigError.ConfigError> =>
  ifSet(
    name,
    Effect.map(
      Config.option(Config.string(name)),
      // An empty variable counts as not set, as in the shell's ${NAME:-…}.
      (value) => Option.map(Option.filter(value, (value) => value !== ""), (raw) => ({ raw, source: name }))
    )
  )

/** Returns the value of a setting from its flag, or else from its environment variable. */
export const outside = <A>(
  flags: ReadonlyMap<string, string>,
  setting: Setting<A>
): Effect.Effect<Option.Option<Given>, ConfigError.ConfigError> =>
  Effect.gen(function*() {
    const flag = setting.flag === undefined ? undefined : flags.get(setting.flag)
    if (flag !== undefined) return Option.some<Given>({ raw: flag, source: `--${setting.flag}` })
    return setting.env === undefined ? Option.none<Given>() : yield* fromEnvironment(setting.env)
  })

/** Decodes a value, if one was given. */
export const decoded = <A>(
  setting: Setting<A>,
  given: Option.Option<Given>
): Effect.Effect<Option.Option<A>, SettingInvalid> =>
  Option.match(given, {
    onNone: () => Effect.succeedNone,
    onSome: (given) => Effect.asSome(decodeGiven(setting, given))
  })

/** The errors of a lookup. A lookup fails with a problem of the config file only if `onFileProblem` fails with that problem. */
export type LookupError = ConfigFile.FileProblem | ConfigError.ConfigError

/** The values that were given for one start. */
export interface Sources {
  /** The value as it was given, not decoded. */
  readonly given: <A>(setting: Setting<A>) => Effect.Effect<Option.Option<Given>, ConfigError.ConfigError>
  /** The decoded value, if one was given. */
  readonly optional: <A>(setting: Setting<A>) => Effect.Effect<Option.Option<A>, LookupError>
  /** Whether a value was given for any of these settings. Decodes none of them. */
  readonly isAnyGiven: (settings: ReadonlyArray<Setting<unknown>>) => Effect.Effect<boolean, ConfigError.ConfigError>
  /** The decoded value, or a default. */
  readonly or: <A>(setting: Setting<A>, otherwise: A) => Effect.Effect<A, LookupError>
}

/**
 * Combines flags, environment variables and the config file of one start. If a value in the file is not allowed, the lookup
 * calls `onFileProblem`. If `onFileProblem` fails, the lookup fails with the same error. Otherwise the lookup ignores the
 * value.
 */
export const make = (
  flags: ReadonlyMap<string, string>,
  file: ConfigFile.ConfigFile,
  onFileProblem: ConfigFile.OnFileProblem
): Sources => {
  const optional = <A>(setting: Setting<A>): Effect.Effect<Option.Option<A>, LookupError> =>
    Effect.gen(function*() {
      const given = yield* outside(flags, setting)
      if (Option.isSome(given) || setting.file === undefined) return yield* decoded(setting, given)
      return yield* decoded(setting, ConfigFile.valueOf(file, setting)).pipe(
        Effect.catchAll((problem) => Effect.as(onFileProblem(problem), Option.none<A>()))
      )
    })
  return {
    given: (setting) =>
      Effect.map(
        outside(flags, setting),
        Option.orElse(() => ConfigFile.valueOf(file, setting))
      ),
    optional,
    isAnyGiven: (settings) =>
      Effect.gen(function*() {
        for (const { env, flag } of settings) {
          if (flag !== undefined && flags.has(flag)) return true
          if (env !== undefined && Option.isSome(yield* fromEnvironment(env))) return true
        }
        return settings.some((setting) => Option.isSome(ConfigFile.valueOf(file, setting)))
      }),
    or: (setting, otherwise) =>
      Effect.map(
        optional(setting),
        Option.getOrElse(() => otherwise)
      )
  }
}
