/**
 * A `TestClock` that knows when all simulated processes wait for time to pass.
 *
 * At each step, Effect's `TestClock` observes the test's fibers for some milliseconds, and does not see the fibers of simulated
 * processes. This clock asks the scheduler of those processes instead. The answer of the scheduler is exact, and it arrives a
 * thousand times as fast. `TestClock.adjust` works on this clock as well.
 *
 * @since 0.1.0
 */
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import type * as TestClock from "effect/TestClock"
import * as SimulatedScheduler from "./SimulatedScheduler.ts"

interface Sleep {
  readonly end: number
  /** Whether the sleeping fiber belongs to the test itself. A fiber of the test does not run on this clock's scheduler. */
  readonly isOutside: boolean
  readonly over: Deferred.Deferred<void>
}

const schedulers = new WeakMap<Clock.Clock, SimulatedScheduler.SimulatedScheduler>()

/**
 * The scheduler of a simulated clock. `undefined` for any other clock.
 *
 * @internal
 */
export const schedulerOf = (clock: Clock.Clock): SimulatedScheduler.SimulatedScheduler | undefined =>
  schedulers.get(clock)

/**
 * Makes a clock that starts at 0 milliseconds. Simulated hosts that are made under this clock share its scheduler. Sleeps that
 * end at the same moment end in the order in which they began.
 *
 * @example
 * import { Effect, TestClock } from "effect"
 * import { Gateway } from "gateway-lock"
 * import { SimulatedClock, SimulatedHost } from "gateway-lock/testing"
 *
 * const test = Effect.gen(function*() {
 *   const host = yield* SimulatedHost.make
 *   yield* host.spawn(Gateway.launch(Gateway.layerPlatform()))
 *   yield* TestClock.adjust("1 day") // in no time
 * }).pipe(Effect.withClock(SimulatedClock.make()))
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (scheduler = SimulatedScheduler.make()): TestClock.TestClock => {
  let now = 0
  let sleeps: ReadonlyArray<Sleep> = []

  const earliest = (): Sleep | undefined =>
    sleeps.reduce<Sleep | undefined>(
      (best, sleep) => best === undefined || sleep.end < best.end ? sleep : best,
      undefined
    )

  const advanceTo = (end: number): Effect.Effect<void> =>
    Effect.gen(function*() {
      yield* SimulatedScheduler.settle(scheduler)
      for (let next = earliest(); next !== undefined && next.end <= end; next = earliest()) {
        const due = next
        now = Math.max(now, due.end)
        sleeps = sleeps.filter((sleep) => sleep !== due)
        yield* Deferred.succeed(due.over, undefined)
        if (due.isOutside) yield* SimulatedScheduler.settle(scheduler)
        else scheduler.drain()
      }
      now = end
      yield* SimulatedScheduler.settle(scheduler)
    })

  const adjust = (duration: Duration.DurationInput) =>
    Effect.suspend(() => advanceTo(now + Duration.toMillis(duration)))
  const nanos = () => BigInt(Math.floor(now * 1_000_000))

  const clock: TestClock.TestClock = {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: () => now,
    unsafeCurrentTimeNanos: nanos,
    currentTimeMillis: Effect.sync(() => now),
    currentTimeNanos: Effect.sync(nanos),
    sleep: (duration) =>
      Effect.flatMap(FiberRef.get(FiberRef.currentScheduler), (runner) => {
        const sleep: Sleep = {
          end: now + Duration.toMillis(duration),
          isOutside: !scheduler.owns(runner),
          over: Deferred.unsafeMake(FiberId.none)
        }
        if (sleep.end <= now) return Effect.void
        sleeps = [...sleeps, sleep]
        return Effect.onInterrupt(Deferred.await(sleep.over), () =>
          Effect.sync(() => {
            sleeps = sleeps.filter((other) => other !== sleep)
          }))
      }),
    adjust,
    adjustWith: (duration) => (effect) => Effect.zipLeft(effect, adjust(duration), { concurrent: true }),
    save: Effect.sync(() => {
      const saved = { now, sleeps }
      return Effect.sync(() => {
        now = saved.now
        sleeps = saved.sleeps
      })
    }),
    setTime: (instant) => advanceTo(instant),
    sleeps: Effect.sync(() => Chunk.fromIterable(sleeps.map(({ end }) => end)))
  }
  schedulers.set(clock, scheduler)
  return clock
}
