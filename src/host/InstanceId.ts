/**
 * Makes the instance id of each run of a gateway.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { randomUUID } from "node:crypto"

/**
 * Makes the id of one run of a gateway: a random UUID (RFC 9562, version 4) from the system's random source.
 *
 * Effect's `Random` is not used, because its generator starts from 32 bits (Effect 3.22.4; `make` in internal/random.ts). Among
 * tens of thousands of starts, two gateways would then probably get the same id, and nothing would distinguish these two
 * gateways. Provide another source of ids in tests.
 *
 * @example
 * import { Effect, Layer } from "effect"
 * import { Gateway, Host } from "gateway-lock"
 *
 * // In a test: a fixed id.
 * const Main = Gateway.layer({ port: 0 }).pipe(
 *   Layer.provide(Layer.succeed(Host.InstanceId.InstanceId, Effect.succeed("first")))
 * )
 *
 * @since 0.1.0
 * @category references
 */
export class InstanceId extends Context.Reference<InstanceId>()("gateway-lock/InstanceId", {
  defaultValue: (): Effect.Effect<string> => Effect.sync(() => randomUUID())
}) {}
