import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
 * Reads an environment variable from the `ConfigProvider`. An empty variable counts as not set, as in the shell's
 * `${NAME:-…}`.
 */
export const variable = (name: string): Effect.Effect<Option.Option<string>> =>
  Config.string(name).pipe(Effect.option, Effect.map(Option.filter((value) => value !== "")))
