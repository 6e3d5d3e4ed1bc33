/**
 * Whose process this is.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
 * The effective user id (geteuid(2)), by which files are ours or somebody else's; `None` on Windows, which has none.
 *
 * @since 0.1.0
 * @category references
 */
export class UserId extends Context.Reference<UserId>()("gateway-lock/UserId", {
  defaultValue: (): Effect.Effect<Option.Option<number>> => Effect.sync(() => Option.fromNullable(process.geteuid?.()))
}) {}
