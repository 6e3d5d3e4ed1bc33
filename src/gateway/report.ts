/**
 * Explains to a person why a start failed. `Gateway` exports `report`.
 */
import * as Effect from "effect/Effect"
import type { GatewayLockError } from "../GatewayLockError.ts"
import * as ErrorReport from "../report/ErrorReport.ts"
import { layerNode } from "./NodePlatform.ts"

/**
 * Builds the report that `gateway run` prints about an error: which process holds the lock or the port, and what to type next.
 * Pass the options of the layer that failed.
 *
 * Changes nothing and never fails. Takes a few seconds at most. `ErrorReport.make` builds the same report on a platform that
 * you provide. `ErrorReportOptions` describes how to adapt the commands that the report names.
 *
 * @example
 * import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Console, Effect, Layer } from "effect"
 * import { Gateway } from "gateway-lock"
 *
 * const options = { profile: "notes", port: 3000 }
 *
 * const Main = HttpServer.serve(HttpRouter.get(HttpRouter.empty, "/", HttpServerResponse.text("hello"))).pipe(
 *   Layer.provideMerge(Gateway.layer(options))
 * )
 *
 * Gateway.launch(Main).pipe(
 *   Effect.tapError((error) => Effect.flatMap(Gateway.report(error, options), ({ text }) => Console.error(text))),
 *   NodeRuntime.runMain({ disableErrorReporting: true })
 * )
 *
 * @since 0.1.0
 * @category reading
 */
export const report = (
  error: GatewayLockError,
  options: ErrorReport.ErrorReportOptions = {}
): Effect.Effect<ErrorReport.ErrorReport> => Effect.provide(ErrorReport.make(error, options), layerNode)
