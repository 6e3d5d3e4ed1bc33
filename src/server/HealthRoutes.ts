/**
 * `/healthz`, `/readyz`, `/startupz` and their short names: what the port answers about itself.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type { Lifecycle } from "../port/Lifecycle.ts"
import { ownAnswerHeaders } from "../port/ServerSocket.ts"

type Question = "health" | "ready" | "startup"

const questions: ReadonlyMap<string, Question> = new Map([
  ["/healthz", "health"],
  ["/health", "health"],
  ["/readyz", "ready"],
  ["/ready", "ready"],
  ["/startupz", "startup"],
  ["/startup", "startup"]
])

/**
 * The path of a request target, without query.
 *
 * @since 0.1.0
 * @category getters
 */
export const pathOf = (url: string): string => {
  const end = url.indexOf("?")
  return end === -1 ? url : url.slice(0, end)
}

/**
 * @since 0.1.0
 * @category predicates
 */
export const owns = (path: string): boolean => questions.has(path)

const json = (status: number, body: unknown) =>
  HttpServerResponse.unsafeJson(body, { status, headers: ownAnswerHeaders })

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
        const checks = yield* lifecycle.failing
        // A failing check is why the gateway drains.
        const failing = checks.length > 0
          ? checks
          : [...(draining ? ["draining"] : []), ...(started ? [] : ["starting"])]
        return failing.length === 0 ? json(200, { ready: true }) : json(503, { ready: false, failing })
      }
      case "startup":
        return started ? json(200, { ok: true, status: "started" }) : json(503, { ok: false, status: "starting" })
    }
  })

/**
 * Answers the paths of `owns`; on any other, that nothing is served there yet. `GET` and `HEAD` only.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (lifecycle: Lifecycle["Type"], instanceId: string): HttpApp.Default =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const question = questions.get(pathOf(request.url))
    if (question === undefined) return Effect.succeed(json(503, { ok: false, status: "starting" }))
    if (request.method !== "GET" && request.method !== "HEAD") {
      return Effect.succeed(
        HttpServerResponse.empty({ status: 405, headers: { ...ownAnswerHeaders, allow: "GET, HEAD" } })
      )
    }
    return answer(question, lifecycle, instanceId)
  })
