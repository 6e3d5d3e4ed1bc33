/**
 * Where instance ids come from.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { randomUUID } from "node:crypto"

/**
 * Makes the id of one run of a gateway: a random UUID (RFC 9562, version 4) from the system's random source.
 *
 * Not from Effect's `Random`: its generator starts from 32 bits, so two gateways among some ten thousand starts would
 * share an id, and the id is what tells them apart. Provide your own for tests.
 *
 * @example
 * import { Effect, Layer } from "effect"
 * import { Gateway, Host } from "gateway-lock"
 *
 * // In a test, an id that is known beforehand.
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
