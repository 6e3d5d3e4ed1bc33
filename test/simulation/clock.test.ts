/**
 * These tests check the contract of the simulated clock: everything that is due at a moment runs before time advances.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Option, TestClock } from "effect"
import * as SimulatedClock from "../../src/testing/SimulatedClock.ts"
import * as SimulatedScheduler from "../../src/testing/SimulatedScheduler.ts"
import { makeHost, simulated } from "../fixtures/simulated.ts"

/** Waits, then yields a number of times, then notes the time. Does this three times. */
const ticking = (times: Array<string>, name: string, millis: number, steps: number) =>
  Effect.sleep(millis).pipe(
    Effect.zipRight(Effect.repeatN(Effect.yieldNow(), steps)),
    Effect.zipRight(Clock.currentTimeMillis),
    Effect.tap((now) => Effect.sync(() => times.push(`${name} ${now}`))),
    Effect.repeatN(2)
  )

describe("simulated time", () => {
  simulated("passes for simulated processes and for the test's own fibers, in one order", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const times: Array<string> = []
      yield* host.spawn(ticking(times, "process", 10, 50))
      const own = yield* Effect.fork(ticking(times, "test", 15, 20))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(times, ["process 10", "test 15", "process 20", "test 30", "process 30", "test 45"])
      assert.isTrue(Option.isSome(yield* Fiber.poll(own)))
    }))

  simulated("is one for all hosts that are made in it", () =>
    Effect.gen(function*() {
      const times: Array<string> = []
      for (const name of ["one", "two"]) {
        const host = yield* makeHost()
        yield* host.spawn(ticking(times, name, 10, 50))
      }
      yield* TestClock.adjust("10 millis")
      assert.deepStrictEqual(times, ["one 10", "two 10"])
    }))

  it.effect("has the scheduler that it was made with, and no other clock has one", () =>
    Effect.gen(function*() {
      const scheduler = SimulatedScheduler.make(1)
      assert.strictEqual(SimulatedClock.schedulerOf(SimulatedClock.make(scheduler)), scheduler)
      assert.isUndefined(SimulatedClock.schedulerOf(yield* Effect.clock))
      assert.isUndefined(SimulatedClock.schedulerOf(Clock.make()))
    }))
})
