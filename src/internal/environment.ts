import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
 * A variable of the environment, as the `ConfigProvider` has it. An empty one is one that is not set, as for the shell's
 * `${NAME:-…}`.
 */
export const variable = (name: string): Effect.Effect<Option.Option<string>> =>
  Config.string(name).pipe(Effect.option, Effect.map(Option.filter((value) => value !== "")))
