import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber } from "effect"
import { keepInterruption } from "../../src/internal/keepInterruption.ts"

/** Interrupts a fiber while its finalizer runs, and waits until the fiber has ended. `prelude` runs in the fiber first. */
const interruptedWhileReleasing = (prelude: Effect.Effect<void>) =>
  Effect.gen(function*() {
    const releasing = yield* Deferred.make<void>()
    const interrupted = yield* Deferred.make<void>()
    const fiber = yield* Effect.addFinalizer(() =>
      Effect.zipRight(Deferred.succeed(releasing, undefined), Deferred.await(interrupted))
    ).pipe(
      Effect.zipRight(Effect.scoped(Effect.addFinalizer(() => Effect.void))),
      Effect.scoped,
      Effect.zipRight(Effect.yieldNow()),
      Effect.as("went on"),
      (program) => Effect.fork(Effect.zipRight(prelude, program))
    )
    yield* Deferred.await(releasing)
    yield* Fiber.interruptFork(fiber)
    yield* Effect.yieldNow()
    yield* Deferred.succeed(interrupted, undefined)
    return yield* Fiber.await(fiber)
  })

describe("keepInterruption", () => {
  it.effect("lets no interruption be lost that comes while a finalizer runs", () =>
    Effect.gen(function*() {
      assert.isTrue(Exit.isInterrupted(yield* interruptedWhileReleasing(keepInterruption)))
    }))

  it.effect("is still needed: when this fails, Effect has been mended, and it can go", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* interruptedWhileReleasing(Effect.void), Exit.succeed("went on"))
    }))
})
