/**
 * The time that has passed, by which leaders and candidates measure. Only differences have a meaning, and only within one process.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
 * A source of elapsed time in nanoseconds.
 *
 * Default: the monotonic time of Effect's `Clock`. That time can stand still while the machine is suspended. A source that counts
 * such times sets `checkEvery`, because a sleep counts only the time of `Clock`.
 *
 * @internal
 */
export class ElapsedTime extends Context.Reference<ElapsedTime>()("gateway-lock/ElapsedTime", {
  defaultValue: (): {
    readonly now: Effect.Effect<bigint>
    /** How often a leader must compare. `None`: a sleep until the deadline is enough. */
    readonly checkEvery: Option.Option<Duration.Duration>
  } => ({ now: Clock.currentTimeNanos, checkEvery: Option.none() })
}) {}
