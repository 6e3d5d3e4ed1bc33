import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck as fc, Layer, Ref } from "effect"
import { type Address, toUrl } from "../../src/Address.ts"
import * as HealthProbe from "../../src/probe/HealthProbe.ts"
import * as PortProbe from "../../src/probe/PortProbe.ts"
import "../arbitraries.ts"
import { portProbe } from "../fixtures/listening.ts"
import { httpServer, refused } from "../fixtures/net.ts"

const { combine } = PortProbe

const gateway: PortProbe.PortState = { _tag: "Gateway", instanceId: "a", healthy: true, detail: "a healthy gateway" }
const foreign: PortProbe.PortState = { _tag: "Foreign", detail: "foreign" }
const stalled: PortProbe.PortState = { _tag: "Stalled", detail: "stalled" }
const free: PortProbe.PortState = { _tag: "Free" }
const ascending = [free, stalled, foreign, gateway]

const state = fc.constantFrom(...ascending)

describe("PortProbe.combine", () => {
  it("nobody asked, nobody there", () => {
    assert.deepStrictEqual(combine([]), free)
  })

  it.prop(
    "free if and only if all are",
    [fc.array(state)],
    ([states]) => (combine(states)._tag === "Free") === states.every(({ _tag }) => _tag === "Free")
  )

  it.prop("is one of those it was given, and none of them tells more", [fc.array(state, { minLength: 1 })], ([
    states
  ]) => {
    const one = combine(states)
    return states.some((state) => state._tag === one._tag)
      && states.every((state) => ascending.indexOf(state) <= ascending.findIndex(({ _tag }) => _tag === one._tag))
  })

  it.prop("does not depend on the order, nor on how it is grouped", [fc.array(state), fc.array(state)], ([a, b]) => {
    assert.deepStrictEqual(combine([...a, ...b]), combine([...b, ...a]))
    assert.deepStrictEqual(combine([...a, ...b]), combine([combine(a), combine(b)]))
  })

  it("of two gateways the first is shown", () => {
    const other: PortProbe.PortState = { ...gateway, instanceId: "b" }
    assert.deepStrictEqual(combine([gateway, other]), gateway)
  })
})

describe("PortProbe.probe", () => {
  /** Runs a probe with these answers; returns the probed addresses and the result. */
  const probe = (address: Address, answers: Readonly<Record<string, HealthProbe.Health>> = {}) =>
    Effect.gen(function*() {
      const asked = yield* Ref.make<ReadonlyArray<string>>([])
      const health = Layer.succeed(
        HealthProbe.HealthProbe,
        HealthProbe.HealthProbe.of({
          probe: (target) =>
            Effect.as(
              Ref.update(asked, (before) => [...before, toUrl(target)]),
              answers[target.host] ?? { _tag: "NoListener", detail: "refused" }
            )
        })
      )
      const state = yield* Effect.flatMap(PortProbe.PortProbe, (ports) => ports.probe(address)).pipe(
        Effect.provide(Layer.provide(PortProbe.layer, health))
      )
      return { state, asked: (yield* Ref.get(asked)).toSorted() }
    })

  it.effect.each<readonly [host: string, asked: ReadonlyArray<string>]>([
    ["127.0.0.1", ["ws://127.0.0.1:9"]],
    ["::1", ["ws://127.0.0.1:9", "ws://[::1]:9"]],
    ["127.0.0.2", ["ws://127.0.0.1:9", "ws://127.0.0.2:9"]],
    ["0.0.0.0", ["ws://127.0.0.1:9"]],
    ["::", ["ws://127.0.0.1:9", "ws://[::1]:9"]],
    ["localhost", ["ws://127.0.0.1:9", "ws://localhost:9"]]
  ])("asks exactly what will be bound: %s", ([host, asked]) =>
    Effect.gen(function*() {
      const seen = yield* probe({ host, port: 9 })
      assert.deepStrictEqual(seen.asked, asked)
      assert.deepStrictEqual(seen.state, free)
    }))

  it.effect.each(["127.0.0.1", "::1", "0.0.0.0", "gateway.example"])(
    "port 0 is free, and nobody is asked: %s",
    (host) =>
      Effect.gen(function*() {
        const answers = { [host]: { _tag: "Healthy", instanceId: "a" } } as const
        assert.deepStrictEqual(yield* probe({ host, port: 0 }, answers), { state: free, asked: [] })
      })
  )

  it.effect.each<readonly [HealthProbe.Health, PortProbe.PortState]>([
    [{ _tag: "NoListener", detail: "refused" }, free],
    [{ _tag: "Healthy", instanceId: "a" }, gateway],
    [
      { _tag: "Unhealthy", instanceId: "a", detail: "drains" },
      { _tag: "Gateway", instanceId: "a", healthy: false, detail: "a gateway that drains" }
    ],
    [
      { _tag: "Healthy" },
      { _tag: "Gateway", healthy: true, detail: "a healthy gateway without an instance id" }
    ],
    [
      { _tag: "Unhealthy", detail: "drains" },
      { _tag: "Gateway", healthy: false, detail: "a gateway that drains" }
    ],
    [foreign, foreign],
    [stalled, stalled]
  ])("what health shows: %o", ([health, state]) =>
    Effect.gen(function*() {
      const seen = yield* probe({ host: "127.0.0.1", port: 9 }, { "127.0.0.1": health })
      assert.deepStrictEqual(seen.state, state)
    }))

  it.effect("who holds the guard address holds the port", () =>
    Effect.gen(function*() {
      const seen = yield* probe({ host: "127.0.0.2", port: 9 }, { "127.0.0.1": { _tag: "Healthy", instanceId: "a" } })
      assert.deepStrictEqual(seen.state, gateway)
    }))

  it.scopedLive("live: a port before, while and after somebody listens", () =>
    Effect.gen(function*() {
      const ports = yield* PortProbe.PortProbe
      const address = yield* Effect.scoped(Effect.gen(function*() {
        const body = JSON.stringify({ ok: true, status: "live", instanceId: "a" })
        const address = yield* httpServer(200, body)
        assert.deepStrictEqual(yield* ports.probe(address), gateway)
        assert.deepStrictEqual(yield* ports.probe({ ...address, host: "127.0.0.2" }), gateway)
        return address
      }))
      yield* refused(address)
      assert.deepStrictEqual(yield* ports.probe(address), free)
    }).pipe(Effect.provide(portProbe)))
})
