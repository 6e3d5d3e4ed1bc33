import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Duration, Effect, FastCheck as fc, Fiber, Layer, Option, Ref, TestClock } from "effect"
import * as Fs from "node:fs"
import type { Address } from "../../src/Address.ts"
import { type Answer, layerLive as liveTransport, ProbeFailed, ProbeTransport } from "../../src/host/ProbeTransport.ts"
import * as HealthProbe from "../../src/probe/HealthProbe.ts"
import * as arbitraries from "../arbitraries.ts"
import { numRuns } from "../arbitraries.ts"
import { httpServer, refused, tcpServer, within } from "../fixtures/net.ts"

const instanceId = "0b5e0e1c-5c1c-4d39-8c4b-0b3a1f8a7d10"
const live = { ok: true, status: "live", instanceId }
const address: Address = { host: "127.0.0.1", port: 18789 }

const answer = (status: number, body: unknown): Answer => ({ status, body: JSON.stringify(body) })

/** A transport that answers requests by calling `get`. */
const transport = (get: ProbeTransport["Type"]["get"]) => Layer.succeed(ProbeTransport, ProbeTransport.of({ get }))

const probe = (get: ProbeTransport["Type"]["get"], timeout?: Duration.DurationInput) =>
  Effect.flatMap(HealthProbe.HealthProbe, (health) => health.probe(address)).pipe(
    Effect.provide(Layer.provide(HealthProbe.layer({ probeTimeout: timeout }), transport(get)))
  )

describe("HealthProbe.classify", () => {
  it.each<readonly [string, Answer, HealthProbe.Health["_tag"]]>([
    ["200, ok and live", answer(200, live), "Healthy"],
    ["more than it must say", answer(200, { ...live, uptime: 5 }), "Healthy"],
    ["503 draining", answer(503, { ok: false, status: "draining", instanceId }), "Unhealthy"],
    ["200 but not ok", answer(200, { ...live, ok: false }), "Unhealthy"],
    ["200 but draining", answer(200, { ...live, status: "draining" }), "Unhealthy"],
    ["500 that says live", answer(500, live), "Unhealthy"],
    ["204 that says live", answer(204, live), "Unhealthy"],
    ["301 that says live", answer(301, live), "Unhealthy"],
    ["ok that is not true", answer(200, { ...live, ok: "true" }), "Foreign"],
    ["ok that is 1", answer(200, { ...live, ok: 1 }), "Foreign"],
    ["LIVE in capitals", answer(200, { ...live, status: "LIVE" }), "Unhealthy"],
    ["the released OpenClaw's words", { status: 200, body: "{\"ok\":true,\"status\":\"live\"}" }, "Healthy"],
    ["an empty instance id", answer(200, { ...live, instanceId: "" }), "Healthy"],
    ["an instance id that is a number", answer(200, { ...live, instanceId: 7 }), "Healthy"],
    ["an instance id that is null", answer(200, { ...live, instanceId: null }), "Healthy"],
    ["503 draining, without an instance id", answer(503, { ok: false, status: "draining" }), "Unhealthy"],
    ["503 starting, without an instance id", answer(503, { ok: false, status: "starting" }), "Unhealthy"],
    ["503 live, without an instance id", answer(503, { ok: true, status: "live" }), "Unhealthy"],
    ["200 and not ok, without an instance id", answer(200, { ok: false, status: "live" }), "Unhealthy"],
    ["another word, without an instance id", answer(200, { ok: true, status: "up" }), "Foreign"],
    ["another word, with an instance id of no use", answer(200, { ok: true, status: "up", instanceId: "" }), "Foreign"],
    ["no status", answer(200, { ok: true, instanceId }), "Foreign"],
    ["an array of it", answer(200, [live]), "Foreign"],
    ["no body", { status: 200, body: "" }, "Foreign"],
    ["another program's health", answer(200, { status: "UP" }), "Foreign"],
    ["HTML", { status: 200, body: "<html>ok live</html>" }, "Foreign"],
    ["a body cut short", { status: 200, body: JSON.stringify(live).slice(0, -1) }, "Foreign"]
  ])("%s", (_, answer, tag) => {
    assert.strictEqual(HealthProbe.classify(answer)._tag, tag)
  })

  it("says which gateway, and what a stranger said", () => {
    assert.deepStrictEqual(HealthProbe.classify(answer(200, live)), { _tag: "Healthy", instanceId })
    for (const unknown of [undefined, "", 7, null, [instanceId], { instanceId }]) {
      assert.deepStrictEqual(HealthProbe.classify(answer(200, { ...live, instanceId: unknown })), { _tag: "Healthy" })
    }
    assert.deepStrictEqual(HealthProbe.classify(answer(503, { ok: false, status: "draining" })), {
      _tag: "Unhealthy",
      detail: "answered HTTP 503 with status \"draining\""
    })
    assert.deepStrictEqual(HealthProbe.classify(answer(503, { ok: false, status: "draining", instanceId })), {
      _tag: "Unhealthy",
      instanceId,
      detail: "answered HTTP 503 with status \"draining\""
    })
    assert.deepStrictEqual(HealthProbe.classify({ status: 404, body: "not found" }), {
      _tag: "Foreign",
      detail: "answered HTTP 404 to /healthz, not as a gateway"
    })
  })

  it.prop("healthy if and only if 200, ok true and status live, whatever else is there", [
    fc.oneof(fc.constant(200), fc.integer({ min: 100, max: 599 })),
    fc.oneof(arbitraries.healthBody, fc.constant(live), fc.jsonValue())
  ], ([status, body]) => {
    const health = HealthProbe.classify(answer(status, body))
    const expected = status === 200 && typeof body === "object" && body !== null && "ok" in body && body.ok === true
      && "status" in body && body.status === "live"
    return (health._tag === "Healthy") === expected
  })

  it.prop("no answer makes it throw, and what it says of one is a short line", [fc.integer(), arbitraries.text], ([
    status,
    body
  ]) => {
    const health = HealthProbe.classify({ status, body })
    return health._tag === "Foreign" && !health.detail.includes("\n") && health.detail.length < 100
  })

  it("a status word of any length is quoted and cut", () => {
    const health = HealthProbe.classify(answer(200, { ...live, status: "\n\u001b[31m".repeat(1000) }))
    assert.strictEqual(health._tag, "Unhealthy")
    assert.isBelow(JSON.stringify(health).length, 1000)
    for (const raw of ["\n", "\u001b"]) assert.notInclude("detail" in health ? health.detail : raw, raw)
  })
})

describe("HealthProbe.probe", () => {
  it.effect("asks /healthz of the very address", () =>
    Effect.gen(function*() {
      const asked = yield* Ref.make<ReadonlyArray<readonly [Address, string]>>([])
      const health = yield* probe((address, path) =>
        Effect.as(Ref.update(asked, (before) => [...before, [address, path] as const]), answer(200, live))
      )
      assert.deepStrictEqual(health, { _tag: "Healthy", instanceId })
      assert.deepStrictEqual(yield* Ref.get(asked), [[address, "/healthz"]])
    }))

  it.effect.each<readonly [ProbeFailed, HealthProbe.Health]>([
    [
      new ProbeFailed({ reason: "NoListener", detail: "connect ECONNREFUSED" }),
      { _tag: "NoListener", detail: "connect ECONNREFUSED" }
    ],
    [
      new ProbeFailed({ reason: "NotHttp", detail: "socket hang up" }),
      { _tag: "Foreign", detail: "did not answer as HTTP (socket hang up)" }
    ]
  ])("a request that fails: %s", ([failure, health]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* probe(() => Effect.fail(failure)), health)
    }))

  it.effect.prop("whoever never answers is stalled exactly at the timeout, and is let go", [
    fc.integer({ min: 1, max: 100_000 })
  ], ([millis]) =>
    Effect.gen(function*() {
      const interrupted = yield* Deferred.make<number>()
      const asking = yield* Effect.fork(
        probe(
          () => Effect.onInterrupt(Effect.never, () => Deferred.complete(interrupted, Clock.currentTimeMillis)),
          Duration.millis(millis)
        )
      )
      yield* TestClock.adjust(millis - 1)
      assert.isTrue(Option.isNone(yield* Fiber.poll(asking)))
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* Fiber.join(asking), {
        _tag: "Stalled",
        detail: `gave no complete answer to /healthz within ${millis}ms`
      })
      assert.strictEqual(yield* Deferred.await(interrupted), millis)
    }), { fastCheck: { numRuns: Math.min(numRuns, 10) } })

  it.effect("the timeout is 1 second where nothing is said", () =>
    Effect.gen(function*() {
      const asking = yield* Effect.fork(probe(() => Effect.never))
      yield* TestClock.adjust(999)
      assert.isTrue(Option.isNone(yield* Fiber.poll(asking)))
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* Fiber.join(asking))._tag, "Stalled")
    }))

  it.effect("an answer just in time counts", () =>
    Effect.gen(function*() {
      const asking = yield* Effect.fork(probe(() => Effect.delay(Effect.succeed(answer(200, live)), 999)))
      yield* TestClock.adjust(999)
      assert.strictEqual((yield* Fiber.join(asking))._tag, "Healthy")
    }))
})

/**
 * Resumes the fiber in a callback of the event loop's poll phase, and then blocks the whole process for `millis` milliseconds,
 * as SIGSTOP or a busy host would. When the process runs again, its timers are due before the event loop polls for I/O.
 */
const beforePauseOf = (millis: number): Effect.Effect<void> =>
  Effect.async((resume) => {
    Fs.stat(".", () => {
      setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis))
      resume(Effect.void)
    })
  })

describe("HealthProbe.probe, live, when the whole process pauses for longer than the timeout", () => {
  it.scopedLive("still hears a refusal and an answer, and no more than before from who is silent", () =>
    Effect.gen(function*() {
      const closed = yield* Effect.tap(Effect.scoped(tcpServer(() => {})), refused)
      const gateway = yield* httpServer(200, JSON.stringify(live))
      const silent = yield* tcpServer((socket) => socket.on("end", () => socket.end()))
      const health = yield* HealthProbe.HealthProbe
      yield* beforePauseOf(1200)
      const answers = yield* Effect.forEach(
        [closed, { ...closed, host: "localhost" }, gateway, silent],
        (address) => health.probe(address),
        { concurrency: "unbounded" }
      ).pipe(within("the deadline"))
      assert.deepStrictEqual(answers.map(({ _tag }) => _tag), ["NoListener", "NoListener", "Healthy", "Stalled"])
    }).pipe(Effect.provide(Layer.provide(HealthProbe.layer({ probeTimeout: "1 second" }), liveTransport))))
})
