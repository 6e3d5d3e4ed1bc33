import { type HttpApp, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import * as AccessToken from "../../src/server/AccessToken.ts"
import * as Authorization from "../../src/server/Authorization.ts"

const token = Redacted.make("a-token-of-thirty-two-characters")
const app = Effect.succeed(HttpServerResponse.text("metrics"))

const ask = (wrapped: HttpApp.Default, headers: Readonly<Record<string, string>>) =>
  wrapped.pipe(
    Effect.provideService(
      HttpServerRequest.HttpServerRequest,
      HttpServerRequest.fromWeb(new Request("http://localhost/metrics", { headers }))
    ),
    Effect.scoped
  )

describe("an app behind the token", () => {
  it.effect("answers who shows it, in either way", () =>
    Effect.gen(function*() {
      const wrapped = Authorization.make(token)(app)
      const ways = [
        { authorization: `Bearer ${Redacted.value(token)}` },
        { "sec-websocket-protocol": AccessToken.subprotocols(token).join(", ") }
      ]
      for (const headers of ways) assert.strictEqual((yield* ask(wrapped, headers)).status, 200)
    }))

  it.effect("is not asked by who does not, who gets 401 with the scheme", () =>
    Effect.gen(function*() {
      const wrapped = Authorization.make(token)(Effect.die("the app was asked"))
      for (const headers of [{}, { authorization: "Bearer wrong" }, { authorization: Redacted.value(token) }]) {
        const answer = yield* ask(wrapped, headers)
        assert.strictEqual(answer.status, 401)
        assert.deepInclude(answer.headers, {
          "www-authenticate": "Bearer",
          "cache-control": "no-store",
          "x-content-type-options": "nosniff"
        })
      }
    }))

  it.effect("is as it was where there is no token", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* ask(Authorization.make(undefined)(app), {})).status, 200)
    }))
})
