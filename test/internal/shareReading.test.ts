import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Ref } from "effect"
import { shareReading } from "../../src/internal/shareReading.ts"

/** A reading of a value that changes. Each reading waits for `gate` after it has seen the value. */
const slowReading = Effect.gen(function*() {
  const value = yield* Ref.make("old")
  const readings = yield* Ref.make(0)
  const begun = yield* Deferred.make<void>()
  const gate = yield* Deferred.make<void>()
  const read = Effect.gen(function*() {
    yield* Ref.update(readings, (n) => n + 1)
    const seen = yield* Ref.get(value)
    yield* Deferred.succeed(begun, undefined)
    yield* Deferred.await(gate)
    return seen
  })
  return { value, readings, begun, gate, ask: yield* shareReading(read) }
})

describe("shareReading", () => {
  it.effect("lets the questions during a reading share the next one, and gives none of them an old result", () =>
    Effect.gen(function*() {
      const { ask, begun, gate, readings, value } = yield* slowReading
      const first = yield* Effect.fork(ask)
      yield* Deferred.await(begun)
      yield* Ref.set(value, "new")
      const others = yield* Effect.forkAll(Array.from({ length: 100 }, () => ask))
      yield* Effect.yieldNow({ priority: 1 })
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Fiber.join(first), "old")
      assert.deepStrictEqual([...new Set(yield* Fiber.join(others))], ["new"])
      assert.strictEqual(yield* Ref.get(readings), 2)
      assert.strictEqual(yield* ask, "new")
      assert.strictEqual(yield* Ref.get(readings), 3)
    }))

  it.effect("goes on for the others if the question that began the reading is interrupted", () =>
    Effect.gen(function*() {
      const { ask, begun, gate, readings } = yield* slowReading
      const first = yield* Effect.fork(ask)
      yield* Deferred.await(begun)
      const second = yield* Effect.fork(ask)
      yield* Effect.yieldNow({ priority: 1 })
      const third = yield* Effect.fork(ask)
      yield* Effect.yieldNow({ priority: 1 })
      yield* Fiber.interrupt(first)
      yield* Fiber.interrupt(second)
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Fiber.join(third), "old")
      assert.strictEqual(yield* Ref.get(readings), 2)
    }))

  it.effect("passes a failure to all that share it, and reads again afterwards", () =>
    Effect.gen(function*() {
      const readings = yield* Ref.make(0)
      const ask = yield* shareReading(
        Effect.flatMap(Ref.updateAndGet(readings, (n) => n + 1), (n) =>
          n === 1 ? Effect.fail("denied") : Effect.succeed(n))
      )
      const results = yield* Effect.all([Effect.flip(ask), Effect.flip(ask)], { concurrency: "unbounded" })
      assert.deepStrictEqual(results, ["denied", "denied"])
      assert.strictEqual(yield* ask, 2)
    }))
})
