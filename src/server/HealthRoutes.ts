/**
 * The health routes: `/healthz`, `/readyz`, `/startupz` and their short names.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type { Lifecycle } from "./Lifecycle.ts"
import { healthPaths, type Question } from "./OwnPaths.ts"
import { ownAnswerHeaders } from "./ServerSocket.ts"

/**
 * The path of a request target, without the query.
 *
 * @since 0.1.0
 * @category getters
 */
export const pathOf = (url: string): string => {
  const end = url.indexOf("?")
  return end === -1 ? url : url.slice(0, end)
}

const json = (status: number, body: unknown) =>
  HttpServerResponse.unsafeJson(body, { status, headers: ownAnswerHeaders })

/**
 * The answer of a gateway that does not lead, for the paths of its app. A client that retries soon may reach the leader.
 *
 * @internal
 */
export const standby = HttpServerResponse.unsafeJson({ ok: false, status: "standby" }, {
  status: 503,
  headers: { ...ownAnswerHeaders, "retry-after": "3" }
})

/**
 * The names of the failing checks. While the gateway starts, or drains before its shutdown, it is not ready. At that time the
 * results of the app's checks do not matter, so the app's checks run only while the gateway serves.
 */
const failingOf = (lifecycle: Lifecycle["Type"], draining: boolean, started: boolean) =>
  Effect.flatMap(Effect.zip(lifecycle.failing, lifecycle.leadership), ([failing, leadership]) => {
    // If one of the gateway's own checks fails, the gateway drains because of that failure. So report that check instead of
    // `draining`. An example is the check `lock`, which fails when the lock is lost.
    if (failing.length > 0) return Effect.succeed(failing)
    if (leadership === "awaited") return Effect.succeed([...(draining ? ["draining"] : []), "leadership"])
    if (draining || !started) {
      return Effect.succeed([...(draining ? ["draining"] : []), ...(started ? [] : ["starting"])])
    }
    return lifecycle.failingChecks
  })

const answer = (question: Question, lifecycle: Lifecycle["Type"], instanceId: string) =>
  Effect.gen(function*() {
    const draining = yield* lifecycle.draining
    const started = yield* lifecycle.started
    switch (question) {
      case "health":
        return draining
          ? json(503, { ok: false, status: "draining", instanceId })
          : json(200, { ok: true, status: "live", instanceId })
      case "ready": {
        const failing = yield* failingOf(lifecycle, draining, started)
        return failing.length === 0 ? json(200, { ready: true }) : json(503, { ready: false, failing })
      }
      case "startup":
        // A gateway that waits to lead has done all of its start. Its app is served once it leads.
        return started || (yield* lifecycle.leadership) !== "none"
          ? json(200, { ok: true, status: "started" })
          : json(503, { ok: false, status: "starting" })
    }
  })

/**
 * Answers `GET` and `HEAD` on the health routes, and other methods there with 405. Any other path gets 503 and `starting`: the
 * server passes a request for another path to these routes only while no app is served, so the gateway is still starting. A gateway
 * that waits to lead answers such a path with 503, `standby` and `Retry-After`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  lifecycle: Lifecycle["Type"],
  instanceId: string,
  paths: ReadonlyMap<string, Question> = healthPaths({})
): HttpApp.Default =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const question = paths.get(pathOf(request.url))
    if (question === undefined) {
      return Effect.map(
        lifecycle.leadership,
        (leadership) => leadership === "awaited" ? standby : json(503, { ok: false, status: "starting" })
      )
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      return Effect.succeed(
        HttpServerResponse.empty({ status: 405, headers: { ...ownAnswerHeaders, allow: "GET, HEAD" } })
      )
    }
    return answer(question, lifecycle, instanceId)
  })
