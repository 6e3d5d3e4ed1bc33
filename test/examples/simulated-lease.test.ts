import { assert, it } from "@effect/vitest"
import { Effect, Layer, TestClock } from "effect"
import { Leadership } from "gateway-lock"
import { SimulatedClock, SimulatedHost, SimulatedLeaseStore } from "gateway-lock/testing"

it.effect("my job runs on one host, and a host that was cut off does no harm", () =>
  Effect.gen(function*() {
    const store = yield* SimulatedLeaseStore.make
    const table = store.resource() // remembers the highest token, and refuses a lower one
    const start = (name: string) =>
      Effect.gen(function*() {
        const host = yield* SimulatedHost.make
        return yield* host.spawn(
          Effect.gen(function*() {
            const { fencingToken, whileLeader } = yield* Leadership.Leadership
            const job = Effect.zipRight(table.write(fencingToken), Effect.sleep("1 second"))
            return yield* whileLeader(Effect.forever(job))
          }).pipe(Effect.provide(Layer.provide(Leadership.layer(), store.link(name).layer)))
        )
      })

    const first = yield* start("one")
    yield* TestClock.adjust("30 seconds") // the first leader waits for the whole lease: it cannot know that it is the first
    const second = yield* start("two")
    yield* store.link("one").cut() // the first host is cut off from the store
    yield* TestClock.adjust("30 seconds")

    assert.isFalse(first.isRunning()) // it has stopped by itself, by its own clock
    assert.isTrue(second.isRunning())
    const tokens = new Set(table.writes().map(({ fencingToken }) => fencingToken))
    assert.strictEqual(tokens.size, 2)
    assert.isTrue(table.writes().every(({ isAccepted }) => isAccepted))
  }).pipe(Effect.withClock(SimulatedClock.make())))
