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
 * @example
 * import { Effect } from "effect"
 * import { Host, Server } from "gateway-lock"
 *
 * // In a test: as another user would read it.
 * const refused = Server.TokenFile.read("/tmp/token").pipe(
 *   Effect.provideService(Host.UserId.UserId, Effect.succeedSome(65534))
 * )
 *
 * @since 0.1.0
 * @category references
 */
export class UserId extends Context.Reference<UserId>()("gateway-lock/UserId", {
  defaultValue: (): Effect.Effect<Option.Option<number>> => Effect.sync(() => Option.fromNullable(process.geteuid?.()))
}) {}

/**
 * The groups of this process, by number: its effective one and the supplementary ones (getgroups(2)); none on Windows.
 *
 * @since 0.1.0
 * @category references
 */
export class GroupIds extends Context.Reference<GroupIds>()("gateway-lock/GroupIds", {
  defaultValue: (): Effect.Effect<ReadonlyArray<number>> =>
    Effect.sync(() => {
      const effective = process.getegid?.()
      return [...(effective === undefined ? [] : [effective]), ...(process.getgroups?.() ?? [])]
    })
}) {}
