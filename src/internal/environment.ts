import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
 * Whether the `ConfigProvider` may have a variable. The default is that it may have any. A start looks for some fifty variables, of which
 * most are not set, and the `ConfigProvider` takes long to find that out. So the program, which reads the environment of its process,
 * says which variables that has.
 */
export class MayHave extends Context.Reference<MayHave>()("gateway-lock/environment/MayHave", {
  defaultValue: () => (_name: string): boolean => true
}) {}

/** Runs a lookup of a variable only if the variable may be set. */
export const ifSet = <A, E>(
  name: string,
  lookup: Effect.Effect<Option.Option<A>, E>
): Effect.Effect<Option.Option<A>, E> =>
  Effect.flatMap(MayHave, (mayHave) => mayHave(name) ? lookup : Effect.succeedNone)

/**
 * Reads an environment variable from the `ConfigProvider`. An empty variable counts as not set, as in the shell's
 * `${NAME:-…}`.
 */
export const variable = (name: string): Effect.Effect<Option.Option<string>> =>
  ifSet(name, Config.string(name).pipe(Effect.option, Effect.map(Option.filter((value) => value !== ""))))
