import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Ref } from "effect"
import { memoized } from "../../src/internal/memoized.ts"

/** The result that the second caller gets if the first caller is interrupted during the computation. */
const afterAnInterruption = (memoize: typeof memoized) =>
  Effect.gen(function*() {
    const begun = yield* Deferred.make<void>()
    const runs = yield* Ref.make(0)
    const ask = yield* memoize(
      Effect.filterOrElse(
        Ref.updateAndGet(runs, (n) => n + 1),
        (run) => run > 1,
        () => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never)
      )
    )
    const first = yield* Effect.fork(ask)
    yield* Deferred.await(begun)
    const second = yield* Effect.fork(ask)
    yield* Effect.yieldNow()
    yield* Fiber.interrupt(first)
    return yield* Fiber.await(second)
  })

describe("memoized", () => {
  it.effect("runs once for all who ask at once, and for all who ask later", () =>
    Effect.gen(function*() {
      const runs = yield* Ref.make(0)
      const ask = yield* memoized(Effect.zipRight(Effect.yieldNow(), Ref.updateAndGet(runs, (n) => n + 1)))
      assert.deepStrictEqual(yield* Effect.all([ask, ask, ask], { concurrency: "unbounded" }), [1, 1, 1])
      assert.strictEqual(yield* ask, 1)
    }))

  it.effect("answers with its failure as well", () =>
    Effect.gen(function*() {
      const runs = yield* Ref.make(0)
      const ask = yield* memoized(Effect.flatMap(Ref.updateAndGet(runs, (n) => n + 1), Effect.fail))
      assert.deepStrictEqual(yield* Effect.all([Effect.flip(ask), Effect.flip(ask)]), [1, 1])
    }))

  it.effect("does not hand an interruption on", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* afterAnInterruption(memoized), Exit.succeed(2))
    }))

  it.effect("is still needed: when this fails, Effect.cached has been mended, and can be used", () =>
    Effect.gen(function*() {
      assert.isTrue(Exit.isInterrupted(yield* afterAnInterruption(Effect.cached)))
    }))
})
