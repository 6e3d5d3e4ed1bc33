/**
 * How the other gateways of this user are found.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Neighbour } from "./StatusFrame.ts"

/**
 * Looks for them, once; asked every now and then while somebody watches. Nobody looks, by default.
 *
 * @since 0.1.0
 * @category references
 */
export class Neighbours extends Context.Reference<Neighbours>()("gateway-lock/Neighbours", {
  defaultValue: (): Option.Option<Effect.Effect<ReadonlyArray<Neighbour>>> => Option.none()
}) {}
