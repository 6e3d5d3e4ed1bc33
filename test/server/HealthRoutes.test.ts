import { HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck as fc } from "effect"
import * as HealthRoutes from "../../src/server/HealthRoutes.ts"
import * as Lifecycle from "../../src/server/Lifecycle.ts"
import "../arbitraries.ts"

const instanceId = "0b5e0e1c-5c1c-4d39-8c4b-0b3a1f8a7d10"

/** Returns the answer of a route without using a network. */
const ask = (lifecycle: Lifecycle.Lifecycle["Type"], path: string, method = "GET") =>
  Effect.gen(function*() {
    const request = HttpServerRequest.fromWeb(new Request(`http://127.0.0.1${path}`, { method }))
    const response = yield* Effect.provideService(
      HealthRoutes.make(lifecycle, instanceId),
      HttpServerRequest.HttpServerRequest,
      request
    )
    const web = HttpServerResponse.toWeb(response)
    const text = yield* Effect.promise(() => web.text())
    const body: unknown = text === "" ? undefined : JSON.parse(text)
    return { status: web.status, body, headers: web.headers }
  })

const seen = (lifecycle: Lifecycle.Lifecycle["Type"]) =>
  Effect.gen(function*() {
    const [health, ready, startup] = yield* Effect.forEach(["/healthz", "/readyz", "/startupz"], (path) =>
      Effect.map(ask(lifecycle, path), ({ body, status }) => [status, body]))
    return { health, ready, startup }
  })

const live = [200, { ok: true, status: "live", instanceId }]
const draining = [503, { ok: false, status: "draining", instanceId }]
const notReady = (...failing: ReadonlyArray<string>) => [503, { ready: false, failing }]

describe("HealthRoutes", () => {
  it.effect("answers by how far the gateway has come", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.make
      const starting = { health: live, ready: notReady("starting"), startup: [503, { ok: false, status: "starting" }] }
      assert.deepStrictEqual(yield* seen(lifecycle), starting)
      yield* lifecycle.setBound
      assert.deepStrictEqual(yield* seen(lifecycle), starting)
      yield* lifecycle.setStarted
      const started = [200, { ok: true, status: "started" }]
      assert.deepStrictEqual(yield* seen(lifecycle), { health: live, ready: [200, { ready: true }], startup: started })
      assert.isTrue(yield* lifecycle.beginDrain("stopped"))
      assert.deepStrictEqual(yield* seen(lifecycle), {
        health: draining,
        ready: notReady("draining"),
        startup: started
      })
    }))

  it.effect("says both that it drains and that it had not started", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.make
      yield* lifecycle.beginDrain("stopped")
      assert.deepStrictEqual((yield* seen(lifecycle)).ready, notReady("draining", "starting"))
    }))

  it.effect("is not ready once a check fails for good, whatever else is the case", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.make
      yield* lifecycle.setStarted
      yield* lifecycle.fail("lock")
      assert.deepStrictEqual((yield* seen(lifecycle)).ready, notReady("lock"))
      yield* lifecycle.beginDrain("lock lost")
      assert.deepStrictEqual((yield* seen(lifecycle)).ready, notReady("lock"))
    }))

  it.effect("a gateway that waits to lead is healthy and has started, but is not ready", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.make
      const started = [200, { ok: true, status: "started" }]
      yield* lifecycle.setLeadership("awaited")
      yield* lifecycle.setBound
      assert.deepStrictEqual(yield* seen(lifecycle), { health: live, ready: notReady("leadership"), startup: started })
      const app = yield* ask(lifecycle, "/app", "POST")
      assert.deepStrictEqual([app.status, app.body, app.headers.get("retry-after")], [
        503,
        { ok: false, status: "standby" },
        "3"
      ])
      // It leads, and its app is not served yet.
      yield* lifecycle.setLeadership("held")
      assert.deepStrictEqual(yield* seen(lifecycle), { health: live, ready: notReady("starting"), startup: started })
      yield* lifecycle.setStarted
      assert.deepStrictEqual((yield* seen(lifecycle)).ready, [200, { ready: true }])
      yield* lifecycle.fail("leadership")
      yield* lifecycle.beginDrain("leadership lost")
      assert.deepStrictEqual((yield* seen(lifecycle)).ready, notReady("leadership"))
    }))

  it.effect("a gateway that waits to lead drains as any other", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.make
      yield* lifecycle.setLeadership("awaited")
      yield* lifecycle.beginDrain("stopped")
      assert.deepStrictEqual((yield* seen(lifecycle)).ready, notReady("draining", "leadership"))
    }))

  it.effect("of two checks that fail for good, the first is the reason", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.make
      yield* lifecycle.fail("lock")
      yield* lifecycle.fail("leadership")
      assert.deepStrictEqual((yield* seen(lifecycle)).ready, notReady("lock"))
    }))

  it.effect("the short names answer the same, with a query too", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.make
      for (
        const [long, short] of [["/healthz", "/health"], ["/readyz", "/ready"], ["/startupz", "/startup"]] as const
      ) {
        const expected = yield* ask(lifecycle, long)
        for (const path of [short, `${short}?a=b`, `${long}?`]) {
          const answer = yield* ask(lifecycle, path)
          assert.deepStrictEqual([answer.status, answer.body], [expected.status, expected.body])
        }
      }
    }))

  it.effect.each(["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])(
    "%s is not allowed",
    (method) =>
      Effect.gen(function*() {
        const lifecycle = yield* Lifecycle.make
        const answer = yield* ask(lifecycle, "/healthz", method)
        assert.strictEqual(answer.status, 405)
        assert.strictEqual(answer.headers.get("allow"), "GET, HEAD")
      })
  )

  it.effect("is never cached", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.make
      for (const path of ["/healthz", "/readyz", "/startupz"]) {
        assert.strictEqual((yield* ask(lifecycle, path)).headers.get("cache-control"), "no-store")
      }
    }))

  it.effect("on any other path says that nothing is served yet", () =>
    Effect.gen(function*() {
      const answer = yield* ask(yield* Lifecycle.make, "/anything", "POST")
      assert.strictEqual(answer.status, 503)
      assert.deepStrictEqual(answer.body, { ok: false, status: "starting" })
    }))

  it.prop(
    "a path ends where its query begins",
    [fc.webPath(), fc.webQueryParameters()],
    ([path, query]) => HealthRoutes.pathOf(`${path}?${query}`) === path && HealthRoutes.pathOf(path) === path
  )
})
