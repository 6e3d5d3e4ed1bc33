/**
 * The token in front of an HTTP app: for routes that are not everybody's, such as metrics.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as AccessToken from "./AccessToken.ts"
import { ownAnswerHeaders } from "./ServerSocket.ts"

/** RFC 6750, 3: which scheme to use. Not which part of it was wrong. */
const unauthorized = HttpServerResponse.text("a token is needed\n", {
  status: 401,
  headers: { ...ownAnswerHeaders, "www-authenticate": "Bearer" }
})

/**
 * Answers 401 instead of the app to a request without the token; with no token there is none to ask for.
 *
 * @example
 * import { HttpRouter } from "@effect/platform"
 * import { Config, Effect } from "effect"
 * import { Server, Telemetry } from "gateway-lock"
 *
 * // A token for the scraper, another than the gateway's own.
 * const router = Effect.map(Config.redacted("SCRAPER_TOKEN"), (token) =>
 *   HttpRouter.empty.pipe(HttpRouter.get("/metrics", Server.Authorization.make(token)(Telemetry.PrometheusMetrics.app))))
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  token: Redacted.Redacted | undefined
): <E, R>(app: HttpApp.Default<E, R>) => HttpApp.Default<E, R> => {
  if (token === undefined) return (app) => app
  const hasToken = AccessToken.matcher(token)
  return (app) =>
    Effect.flatMap(
      HttpServerRequest.HttpServerRequest,
      (request) => hasToken(request.headers) ? app : Effect.succeed(unauthorized)
    )
}
