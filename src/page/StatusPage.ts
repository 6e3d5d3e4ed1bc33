/**
 * A web page that shows the live state of this gateway. The page is one HTML document. It uses no build step and no
 * framework, and loads no other file. The document contains no data: all data arrives over the control socket, the
 * gateway's own WebSocket.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import { RouteNotFound } from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import { createHash } from "node:crypto"
import { markup } from "./markup.ts"
import { script } from "./script.ts"
import { style } from "./style.ts"

// ---------------------------------------------------------------------------
// content negotiation
// ---------------------------------------------------------------------------

interface MediaRange {
  readonly type: string
  /** The preference for this type, from 0 to 1. */
  readonly quality: number
}

/** A quality value: a number from 0 to 1 with at most three digits after the point (RFC 9110, 12.4.2). */
const qualityPattern = /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/

/** Parses an `Accept` header (RFC 9110, 12.5.1). Malformed elements are ignored. */
const mediaRanges = (accept: string): ReadonlyArray<MediaRange> =>
  accept.split(",").flatMap((element) => {
    const [type = "", ...parameters] = element.split(";").map((part) => part.trim().toLowerCase())
    if (!/^[^\s/]+\/[^\s/]+$/.test(type)) return []
    const weight = parameters.find((parameter) => parameter.startsWith("q="))?.slice(2)
    if (weight === undefined) return [{ type, quality: 1 }]
    return qualityPattern.test(weight) ? [{ type, quality: Number(weight) }] : []
  })

/**
 * Whether an `Accept` header prefers a web page, as browsers do: it names `text/html`, and gives no type a higher weight.
 * Other programs name another type, or accept every type with a wildcard.
 *
 * @internal
 */
export const prefersHtml = (accept: string | undefined): boolean => {
  const ranges = mediaRanges(accept ?? "")
  const html = Math.max(0, ...ranges.filter(({ type }) => type === "text/html").map(({ quality }) => quality))
  return html > 0 && ranges.every(({ quality }) => quality <= html)
}

// ---------------------------------------------------------------------------
// the document
// ---------------------------------------------------------------------------

const hashSource = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`

/**
 * Options of the status page.
 *
 * @since 0.1.0
 * @category models
 */
export interface StatusPageOptions {
  /** The path of the WebSocket from which the page gets its data, if the gateway's option `routes` has moved it. Default `/`. */
  readonly controlPath?: string | undefined
  /** The path of the metrics, to which the page then links. Default: no link. */
  readonly metricsPath?: string | undefined
}

/**
 * Renders the whole document as HTML.
 *
 * @since 0.1.0
 * @category getters
 */
export const html = ({ controlPath = "/", metricsPath }: StatusPageOptions = {}): string =>
  markup({ style, script, controlPath, metricsPath })

/**
 * The Content Security Policy (Level 3) of the document. It allows only the document's own script and style, and
 * connections to the gateway. Received text cannot become markup or script, because that needs a Trusted Types policy, and
 * the document allows no such policy.
 *
 * @since 0.1.0
 * @category constants
 */
export const contentSecurityPolicy: string = [
  "default-src 'none'",
  `script-src ${hashSource(script)}`,
  `style-src ${hashSource(style)}`,
  "connect-src 'self'",
  // The icon is a data URL in the document.
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'"
].join("; ")

const headers = {
  "content-security-policy": contentSecurityPolicy,
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  // A later version of the gateway may have another page, so a browser must not show a stored copy of this page.
  "cache-control": "no-store",
  vary: "Accept"
}

/**
 * Makes the HTTP app that serves the page, like `app`, but with options.
 *
 * @since 0.1.0
 * @category apps
 */
export const make = (options: StatusPageOptions = {}): HttpApp.Default<RouteNotFound> => {
  let made: HttpServerResponse.HttpServerResponse | undefined
  // Made for the first browser: most gateways have none, and the document takes 60 KiB as text and again as bytes.
  const page = Effect.sync(() =>
    made ??= HttpServerResponse.text(html(options), { contentType: "text/html; charset=utf-8", headers })
  )
  return Effect.flatMap(
    HttpServerRequest.HttpServerRequest,
    (request) =>
      (request.method === "GET" || request.method === "HEAD") && prefersHtml(request.headers["accept"])
        ? page
        : new RouteNotFound({ request })
  )
}

/**
 * An HTTP app that serves the page to browsers. For requests that do not prefer HTML, and for methods other than `GET` and
 * `HEAD`, it fails with `RouteNotFound`. A server turns that into a 404 response.
 *
 * You can mount the app on any path: the page gets its data from the control socket (a WebSocket), whose path does not
 * depend on the path of the page.
 *
 * @example
 * import { HttpRouter } from "@effect/platform"
 * import { StatusPage } from "gateway-lock"
 *
 * const router = HttpRouter.empty.pipe(HttpRouter.get("/status", StatusPage.app))
 *
 * @since 0.1.0
 * @category apps
 */
export const app: HttpApp.Default<RouteNotFound> = make()
