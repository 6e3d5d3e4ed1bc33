/**
 * Which fiber of which simulated process goes on next?
 *
 * Everything that simulated processes do is a task of one queue, so that "nothing can go on without time passing" is a
 * fact and no guess, and so that a seed decides the order.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Scheduler from "effect/Scheduler"
import * as Utils from "effect/Utils"

/**
 * @since 0.1.0
 * @category models
 */
export interface SimulatedScheduler extends Scheduler.Scheduler {
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
 * In the order of arrival; with a seed, in an order that the seed draws.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (seed?: number): SimulatedScheduler => {
  const queue: Array<() => void> = []
  const random = seed === undefined ? undefined : new Utils.PCGRandom(seed)
  let steps = 0
  let requested = false

  const runOne = (): void => {
    let task: (() => void) | undefined
    if (random === undefined) task = queue.shift()
    else {
      const at = random.integer(queue.length)
      task = queue[at]
      const last = queue.pop()
      if (last !== undefined && at < queue.length) queue[at] = last
    }
    steps += 1
    task?.()
  }

  const drain = (): void => {
    for (let left = maxTasksOfOneDrain; queue.length > 0; left -= 1) {
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
      for (let left = tasksOfOneTurn; left > 0 && queue.length > 0; left -= 1) runOne()
      if (queue.length > 0) request()
    }, 0)
  }

  return {
    shouldYield: (fiber) => Scheduler.defaultScheduler.shouldYield(fiber),
    scheduleTask: (task) => {
      queue.push(task)
      request()
    },
    drain,
    steps: () => steps
  }
}

/** What a promise or the test's own fibers hand on comes some turns later. */
const quietTurns = 10

/**
 * Lets everything happen that needs no time to pass.
 *
 * @since 0.1.0
 * @category running
 */
export const settle = (scheduler: SimulatedScheduler): Effect.Effect<void> =>
  Effect.suspend(() => {
    let quiet = 0
    const turn = Effect.suspend(() => {
      const before = scheduler.steps()
      scheduler.drain()
      quiet = scheduler.steps() > before ? 0 : quiet + 1
      return Effect.yieldNow()
    })
    return Effect.repeat(turn, { until: () => quiet >= quietTurns })
  })
