/**
 * Requires a token in front of an HTTP app, for routes that must not be public, such as metrics.
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

/** The answer names the authentication scheme (RFC 6750, section 3). It does not say what was wrong with the client's token. */
const unauthorized = HttpServerResponse.text("a token is needed\n", {
  status: 401,
  headers: { ...ownAnswerHeaders, "www-authenticate": "Bearer" }
})

/**
 * Protects an app with a token: a request without that token is answered with 401. If `token` is `undefined`, the app stays
 * unprotected.
 *
 * @example
 * import { HttpRouter } from "@effect/platform"
 * import { Config, Effect } from "effect"
 * import { Server, Telemetry } from "gateway-lock"
 *
 * // The scraper has its own token, different from the gateway's.
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
