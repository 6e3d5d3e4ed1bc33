/**
 * A page for browsers that shows what this gateway is and does, live over the control socket. One document, without a
 * build step, framework or further request; it holds no data of its own.
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
// for whom
// ---------------------------------------------------------------------------

interface MediaRange {
  readonly type: string
  /** 0 to 1. */
  readonly quality: number
}

/** RFC 9110, 12.4.2: at most three digits after the point. */
const qualityPattern = /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/

/** RFC 9110, 12.5.1. What is not well formed is as good as absent. */
const mediaRanges = (accept: string): ReadonlyArray<MediaRange> =>
  accept.split(",").flatMap((element) => {
    const [type = "", ...parameters] = element.split(";").map((part) => part.trim().toLowerCase())
    if (!/^[^\s/]+\/[^\s/]+$/.test(type)) return []
    const weight = parameters.find((parameter) => parameter.startsWith("q="))?.slice(2)
    if (weight === undefined) return [{ type, quality: 1 }]
    return qualityPattern.test(weight) ? [{ type, quality: Number(weight) }] : []
  })

/**
 * Whether an `Accept` header asks for a page, as browsers do: it names `text/html`, and nothing that it likes better.
 * Programs name another type, or take whatever there is.
 *
 * @internal
 */
export const prefersHtml = (accept: string | undefined): boolean => {
  const ranges = mediaRanges(accept ?? "")
  const html = Math.max(0, ...ranges.filter(({ type }) => type === "text/html").map(({ quality }) => quality))
  return html > 0 && ranges.every(({ quality }) => quality <= html)
}

// ---------------------------------------------------------------------------
// what
// ---------------------------------------------------------------------------

const hashSource = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`

/**
 * @since 0.1.0
 * @category models
 */
export interface StatusPageOptions {
  /** Where the control socket is, if the gateway's option `routes` has moved it. Default `/`. */
  readonly controlPath?: string | undefined
}

/**
 * The whole document.
 *
 * @since 0.1.0
 * @category getters
 */
export const html = ({ controlPath = "/" }: StatusPageOptions = {}): string => markup({ style, script, controlPath })

/**
 * What the document may do, which is nothing but its own script and style and to talk to the gateway (Content Security
 * Policy Level 3). No text that it is sent can become markup or script: that takes a Trusted Types policy, and there is
 * none.
 *
 * @since 0.1.0
 * @category constants
 */
export const contentSecurityPolicy: string = [
  "default-src 'none'",
  `script-src ${hashSource(script)}`,
  `style-src ${hashSource(style)}`,
  "connect-src 'self'",
  // The icon, which is written in the document.
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
  // A later version of the gateway has another page.
  "cache-control": "no-store",
  vary: "Accept"
}

/**
 * `app`, with options.
 *
 * @since 0.1.0
 * @category apps
 */
export const make = (options: StatusPageOptions = {}): HttpApp.Default<RouteNotFound> => {
  const page = HttpServerResponse.text(html(options), { contentType: "text/html; charset=utf-8", headers })
  return Effect.flatMap(
    HttpServerRequest.HttpServerRequest,
    (request) =>
      (request.method === "GET" || request.method === "HEAD") && prefersHtml(request.headers["accept"])
        ? Effect.succeed(page)
        : new RouteNotFound({ request })
  )
}

/**
 * Answers browsers with the page. Fails with `RouteNotFound`, which a server makes a 404, for programs and for
 * methods other than `GET` and `HEAD`.
 *
 * Mount it on any path: its WebSocket is the gateway's control socket.
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
