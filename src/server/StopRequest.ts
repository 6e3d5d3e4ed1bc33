/**
 * Tells the log what asked the process to stop.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"

/**
 * When a gateway stops, its log line names what asked the process to stop. The gateway reads that name from this reference. The
 * program `gateway` sets the reference to the name of the signal that it received. `None`, the default, means that the origin of
 * the stop is not known.
 *
 * @example
 * import { Effect, Layer, Option } from "effect"
 * import { Gateway, Server } from "gateway-lock"
 *
 * // The log says "gateway stopping on SIGTERM".
 * let signal: string | undefined
 * process.once("SIGTERM", () => { signal = "SIGTERM" })
 * const Asked = Layer.succeed(Server.StopRequest.StopRequest, Effect.sync(() => Option.fromNullable(signal)))
 * const Main = Gateway.layer({ port: 18789 }).pipe(Layer.provide(Asked))
 *
 * @since 0.1.0
 * @category references
 */
export class StopRequest extends Context.Reference<StopRequest>()("gateway-lock/StopRequest", {
  defaultValue: (): Effect.Effect<Option.Option<string>> => Effect.succeedNone
}) {}
