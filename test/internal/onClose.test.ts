/**
 * Tests the finalizers that take little time: when they run, that nothing interrupts them, and which fiber references they have.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, FiberRef, Scope } from "effect"
import { acquire, onClose } from "../../src/internal/onClose.ts"

const mark = FiberRef.unsafeMake("closer")

/** Adds a finalizer with another value of `mark`, closes the scope, and returns the value that the finalizer has seen. */
const seenBy = (add: (finalizer: Effect.Effect<void>) => Effect.Effect<void, never, Scope.Scope>) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const seen = yield* Deferred.make<string>()
    const see = Effect.flatMap(FiberRef.get(mark), (value) => Effect.asVoid(Deferred.succeed(seen, value)))
    yield* Effect.locally(Scope.extend(add(see), scope), mark, "opener")
    yield* Scope.close(scope, Exit.void)
    return yield* Deferred.await(seen)
  })

describe("a finalizer", () => {
  it.effect("runs when the scope closes, the last one first, and sees how the scope ended", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const exit = yield* Effect.gen(function*() {
        yield* onClose(Effect.sync(() => log.push("first")))
        const resource = yield* acquire(
          Effect.succeed("resource"),
          (resource, exit) => Effect.sync(() => log.push(`${resource}, ${exit._tag}`))
        )
        log.push(`use ${resource}`)
        return yield* Effect.fail("failed")
      }).pipe(Effect.scoped, Effect.exit)
      assert.deepStrictEqual(exit, Exit.fail("failed"))
      assert.deepStrictEqual(log, ["use resource", "resource, Failure", "first"])
    }))

  it.effect("is not added if the resource cannot be acquired", () =>
    Effect.gen(function*() {
      let released = false
      const acquired = acquire(Effect.fail("none"), () => Effect.sync(() => void (released = true)))
      assert.deepStrictEqual(yield* Effect.exit(Effect.scoped(acquired)), Exit.fail("none"))
      assert.isFalse(released)
    }))

  it.effect("is not interrupted, even if the scope is closed by a fiber that can be", () =>
    Effect.gen(function*() {
      const [begun, go] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      let ended = 0
      const slowly = Effect.zipRight(
        Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(go)),
        Effect.sync(() => void (ended += 1))
      )
      const scope = yield* Scope.make()
      yield* Scope.extend(onClose(slowly), scope)
      yield* Scope.extend(acquire(Effect.void, () => slowly), scope)
      const closing = yield* Effect.fork(Effect.interruptible(Scope.close(scope, Exit.void)))
      yield* Deferred.await(begun)
      const interrupting = yield* Effect.fork(Fiber.interrupt(closing))
      yield* Effect.yieldNow()
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(interrupting)
      assert.isAtLeast(ended, 1)
    }))

  it.effect("has the fiber references of the fiber that closes the scope", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* seenBy(onClose), "closer")
      assert.strictEqual(yield* seenBy((see) => acquire(Effect.void, () => see)), "closer")
    }))

  it.effect("src/internal/onClose.ts is still needed: Effect restores the fiber references, which takes time", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* seenBy((see) => Effect.addFinalizer(() => see)), "opener")
      assert.strictEqual(yield* seenBy((see) => Effect.acquireRelease(Effect.void, () => see)), "opener")
    }))
})
