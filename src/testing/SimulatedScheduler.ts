/**
 * Decides which simulated process runs next.
 *
 * Each step of a simulated process is a task in a queue. If the queue is empty, all processes wait until the clock advances. A
 * seed can decide the order of the tasks.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Scheduler from "effect/Scheduler"
import * as Utils from "effect/Utils"

/**
 * A scheduler that decides the order in which simulated processes run.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedScheduler extends Scheduler.Scheduler {
  /**
   * Makes a scheduler for the fibers of one process. These fibers run in the order in which they became ready, as in Node,
   * because Effect relies on that order. The order between fibers of different processes is not fixed.
   */
  readonly newLane: () => Scheduler.Scheduler
  /** Whether the given scheduler is this scheduler, or was made by `newLane` of this scheduler. */
  readonly owns: (scheduler: Scheduler.Scheduler) => boolean
  /** Runs all tasks, including the tasks that they add, until none is left. */
  readonly drain: () => void
  /** The number of tasks that have run so far. */
  readonly steps: () => number
}

/** A call of `drain` fails after this many tasks, because some program must then be in an endless loop. */
const maxTasksOfOneDrain = 1_000_000

/**
 * How many tasks run in one turn of the event loop if `drain` is not called. Between two turns, other code in this thread can
 * run.
 */
const tasksOfOneTurn = 2048

/**
 * Makes a scheduler. Without a seed, tasks run in the order of arrival. With a seed, pseudo-random numbers choose which process
 * runs next.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway } from "gateway-lock"
 * import { SimulatedHost, SimulatedScheduler } from "gateway-lock/testing"
 *
 * // Two starts at the same moment. The seed decides their order, and the same seed gives the same run.
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
  /**
   * The lanes that have a task. With a seed, each process has its own lane. Without a seed, all processes share one lane,
   * whose tasks run in the order of arrival.
   */
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

  // Tasks also run if `drain` is not called. They run in the background then, like ordinary fibers.
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

/**
 * After this many turns of the event loop without a task, the processes count as settled. One turn is not enough, because
 * promises and the test's own fibers can add tasks some turns later.
 */
const quietTurns = 100

/**
 * Runs all simulated processes until each of them waits for the clock to advance.
 *
 * @since 0.1.0
 * @category running
 */
export const settle = (scheduler: SimulatedScheduler): Effect.Effect<void> =>
  Effect.suspend(() => {
    let quiet = 0
    // `Effect.repeat` would be slow here: its schedule takes most of the time of a short simulation.
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
