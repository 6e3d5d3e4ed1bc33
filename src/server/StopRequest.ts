/**
 * What asked the process to stop, for the log.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"

/**
 * Names what asked the process to stop, for the log: the signal, in the shipped program. `None`, the default, means that it is
 * not known.
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
