/**
 * A clock whose timers keep the process alive only while somebody waits for this library.
 *
 * A held lock is checked by a timer. With an ordinary timer, a program whose work is done would not end before it releases its
 * lock. During `acquire` and `release` the timers must keep the process alive, because the program may have nothing else to wait for.
 */
// Only Node's own timers have `ref` and `unref`.
// @effect-diagnostics globalTimers:off
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Timers from "node:timers"

/** A clock, and a function that says when its timers keep the process alive. */
export interface UnrefClock {
  readonly clock: Clock.Clock
  /** Keeps the process alive for as long as the promise of `run` is pending. Several calls may overlap. */
  readonly alive: <A>(run: () => Promise<A>) => Promise<A>
}

/** The longest delay of a Node timer. A longer one would end at once. */
const longestMillis = 2 ** 31 - 1

export const make = (): UnrefClock => {
  const ordinary = Clock.make()
  const pending = new Set<NodeJS.Timeout>()
  let waiting = 0

  const schedule: Clock.ClockScheduler["unsafeSchedule"] = (task, duration) => {
    const millis = Duration.toMillis(duration)
    if (millis > longestMillis) return () => false
    const timer = Timers.setTimeout(() => {
      pending.delete(timer)
      task()
    }, millis)
    if (waiting === 0) timer.unref()
    pending.add(timer)
    return () => {
      Timers.clearTimeout(timer)
      return pending.delete(timer)
    }
  }

  const clock: Clock.Clock = {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: () => ordinary.unsafeCurrentTimeMillis(),
    unsafeCurrentTimeNanos: () => ordinary.unsafeCurrentTimeNanos(),
    currentTimeMillis: ordinary.currentTimeMillis,
    currentTimeNanos: ordinary.currentTimeNanos,
    sleep: (duration) =>
      Effect.async<void>((resume) => {
        const cancel = schedule(() => resume(Effect.void), duration)
        return Effect.asVoid(Effect.sync(cancel))
      })
  }

  return {
    clock,
    alive: async (run) => {
      if (waiting === 0) { for (const timer of pending) timer.ref() }
      waiting += 1
      try {
        return await run()
      } finally {
        waiting -= 1
        if (waiting === 0) { for (const timer of pending) timer.unref() }
      }
    }
  }
}
