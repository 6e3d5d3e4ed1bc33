/**
 * Interrupts an effect when a gateway that was built within it loses its lock or its leadership. One effect can build several gateways.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { LeadershipLost, LockLost } from "../GatewayLockError.ts"
import { whileNot } from "../internal/whileNot.ts"

/** Why a gateway must end: it has lost its lock, or with a lease, its leadership. */
export type Lost = LockLost | LeadershipLost

/**
 * The function that each gateway calls when it loses its lock or its leadership, after it has logged the loss. `None`: no function is
 * called.
 */
export class LossReport extends Context.Reference<LossReport>()("gateway-lock/LossReport", {
  defaultValue: (): Option.Option<(error: Lost) => Effect.Effect<void>> => Option.none()
}) {}

/**
 * Runs an effect until a gateway that was built within it loses its lock or its leadership. Then the effect is interrupted, and
 * `untilLost` fails with that error. In contrast, `Gateway.lost` reports the loss of only one gateway, and code can use
 * it only once the layer of that gateway is built.
 */
export const untilLost = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | Lost, R> =>
  Effect.flatMap(
    Deferred.make<never, Lost>(),
    (lost) =>
      Effect.provideService(self, LossReport, Option.some((error) => Effect.asVoid(Deferred.fail(lost, error)))).pipe(
        whileNot(Deferred.await(lost))
      )
  )
