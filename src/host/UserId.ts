/**
 * The user and the groups of this process.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
 * The effective user id of this process (geteuid(2)). Checks of file ownership compare the owner of a file with this id. `None`
 * on Windows, which has no user ids.
 *
 * @example
 * import { Effect } from "effect"
 * import { Host, Server } from "gateway-lock"
 *
 * // In a test: read the file as another user would.
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
 * The group ids of this process: the effective group and the supplementary groups (getgroups(2)). Empty on Windows.
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
