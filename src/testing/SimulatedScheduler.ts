/**
 * Which fiber of which simulated process goes on next?
 *
 * Everything that simulated processes do is a task in a queue, so that "nothing can go on without time passing" is a
 * fact and no guess, and so that a seed decides the order.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Scheduler from "effect/Scheduler"
import * as Utils from "effect/Utils"

/**
 * The order in which simulated processes go on.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedScheduler extends Scheduler.Scheduler {
  /**
   * For the fibers of one process. They go on in the order in which they became able to, as Node has it and Effect relies
   * on; which process goes on is open.
   */
  readonly newLane: () => Scheduler.Scheduler
  /** Whether it is this one, or one of its lanes. */
  readonly owns: (scheduler: Scheduler.Scheduler) => boolean
  /** Runs every task there is, and those that come of them, until none is left. */
  readonly drain: () => void
  /** How many tasks have run so far. */
  readonly steps: () => number
}

/** So many tasks without an end are a program that spins. */
const maxTasksOfOneDrain = 1_000_000

/** Between two of them, whatever else runs in this thread has its turn. */
const tasksOfOneTurn = 2048

/**
 * In the order of arrival; with a seed, the seed draws which process goes on next.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway } from "gateway-lock"
 * import { SimulatedHost, SimulatedScheduler } from "gateway-lock/testing"
 *
 * // Two starts at one moment, in an order that the seed decides: the same seed, the same run.
 * const race = (seed: number) =>
 *   Effect.gen(function*() {
 *     const host = yield* SimulatedHost.makeWith({ scheduler: SimulatedScheduler.make(seed) })
 *     yield* host.spawn(Gateway.launch(Gateway.layerPlatform()))
 *     yield* host.spawn(Gateway.launch(Gateway.layerPlatform()))
 *     yield* host.settle
 *     return host.ports.owners(18789)
 *   })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (seed?: number): SimulatedScheduler => {
  type Lane = Array<() => void>
  /** With a seed, those lanes that have a task; without, one lane for all, in the order of arrival. */
  const ready: Array<Lane> = []
  const random = seed === undefined ? undefined : new Utils.PCGRandom(seed)
  const only: Lane = []
  const lanes = new WeakSet<Scheduler.Scheduler>()
  let steps = 0
  let requested = false

  const runOne = (): void => {
    const at = random === undefined ? 0 : random.integer(ready.length)
    const lane = ready[at]
    const task = lane?.shift()
    if (lane?.length === 0) ready.splice(at, 1)
    steps += 1
    task?.()
  }

  const drain = (): void => {
    for (let left = maxTasksOfOneDrain; ready.length > 0; left -= 1) {
      if (left === 0) {
        throw new Error(`simulated processes go on without an end: ${maxTasksOfOneDrain} steps at one time`)
      }
      runOne()
    }
  }

  // Where nobody drains, things go on by themselves, as fibers do.
  const request = (): void => {
    if (requested) return
    requested = true
    Scheduler.defaultScheduler.scheduleTask(() => {
      requested = false
      for (let left = tasksOfOneTurn; left > 0 && ready.length > 0; left -= 1) runOne()
      if (ready.length > 0) request()
    }, 0)
  }

  const newLane = (): Scheduler.Scheduler => {
    const lane: Lane = random === undefined ? only : []
    const scheduler: Scheduler.Scheduler = {
      shouldYield: (fiber) => Scheduler.defaultScheduler.shouldYield(fiber),
      scheduleTask: (task) => {
        if (lane.length === 0) ready.push(lane)
        lane.push(task)
        request()
      }
    }
    lanes.add(scheduler)
    return scheduler
  }

  const scheduler: SimulatedScheduler = {
    ...newLane(),
    newLane,
    owns: (other) => lanes.has(other),
    drain,
    steps: () => steps
  }
  lanes.add(scheduler)
  return scheduler
}

/** What a promise or the test's own fibers hand on comes some turns later. */
const quietTurns = 100

/**
 * Lets everything happen that needs no time to pass.
 *
 * @since 0.1.0
 * @category running
 */
export const settle = (scheduler: SimulatedScheduler): Effect.Effect<void> =>
  Effect.suspend(() => {
    let quiet = 0
    // Not `Effect.repeat`: the schedule behind it takes most of a short simulation's time.
    return Effect.whileLoop({
      while: () => quiet < quietTurns,
      body: () => {
        const before = scheduler.steps()
        scheduler.drain()
        quiet = scheduler.steps() > before ? 0 : quiet + 1
        return Effect.yieldNow()
      },
      step: () => {}
    })
  })
