/**
 * The leadership of `gateway exec` with a lease. The command may run only while this host leads.
 *
 * A watchdog in a process of its own guards the command, because this process may be stopped or killed while the command runs on.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { LeadershipLost, LeaseUnavailable } from "../GatewayLockError.ts"
import { CommandWatchdog, type Watchdog, type WatchdogFailed } from "../host/CommandWatchdog.ts"
import { ElapsedTime } from "../host/ElapsedTime.ts"
import * as Leadership from "../leader/Leadership.ts"
import * as LeaseTimes from "../leader/LeaseTimes.ts"

/** What `exec` needs of the leadership. */
export interface Lead {
  readonly fencingToken: bigint
  /** Fails if the leadership is lost at this moment. */
  readonly check: Effect.Effect<void, LeadershipLost>
  /** Never succeeds. Fails when the leadership is lost, or when the watchdog has ended. */
  readonly lost: Effect.Effect<never, LeadershipLost | WatchdogFailed>
  /** Completes when a command that still runs after the loss must get SIGKILL. */
  readonly cut: Effect.Effect<void>
  /** From now on, the watchdog kills this command if this process cannot stop it in time. */
  readonly guard: Watchdog["guard"]
}

/** How long before the watchdog this process kills the command itself. */
const margin = (stopTimeout: Duration.Duration): Duration.Duration =>
  Duration.min(Duration.millis(500), Duration.times(stopTimeout, 0.25))

/** The moment by which the command must have ended. It moves with each renewal. */
const makeBound = (stopTimeout: Duration.Duration) =>
  Effect.map(ElapsedTime, ({ now }) => {
    const stop = Duration.unsafeToNanos(stopTimeout)
    let trustedUntil = 0n
    let endsAt = Option.none<bigint>()
    return {
      /** The time that is left. `None` before and after the leadership. */
      left: Effect.map(
        now,
        (time) => Option.map(endsAt, (endsAt) => Duration.nanos(endsAt > time ? endsAt - time : 0n))
      ),
      follow: (state: Leadership.LeadershipState): Effect.Effect<void> =>
        Effect.map(now, (time) => {
          switch (state._tag) {
            case "Candidate":
            case "Released":
              endsAt = Option.none()
              return
            case "Leader":
              trustedUntil = state.trustedUntil
              endsAt = Option.some(trustedUntil + stop)
              return
            case "Lost":
              endsAt = Option.some((time < trustedUntil ? time : trustedUntil) + stop)
          }
        })
    }
  })

/**
 * Waits until this host leads, and starts the watchdog. Leads until the scope closes. Close it after the command has ended.
 */
export const make = (
  options: Leadership.LeadershipOptions
): Effect.Effect<
  Lead,
  LeaseUnavailable | WatchdogFailed,
  Leadership.LeaseStore.LeaseStore | CommandWatchdog | Scope.Scope
> =>
  Effect.gen(function*() {
    const { stopTimeout } = Either.getOrElse(LeaseTimes.fromOptions(options.lease), () => LeaseTimes.defaults)
    const { follow, left } = yield* makeBound(stopTimeout)
    let watchdog = Option.none<Watchdog>()
    const moveWatchdog = Effect.suspend(() =>
      Option.match(watchdog, {
        onNone: () => Effect.void,
        onSome: ({ killAfter }) =>
          Effect.flatMap(
            left,
            Option.match({
              onNone: () => Effect.void,
              onSome: () => killAfter(Effect.map(left, Option.getOrElse(() => Duration.zero)))
            })
          )
      })
    )
    const leadership = yield* Leadership.make({
      ...options,
      onChange: (state) =>
        Effect.all([follow(state), moveWatchdog, options.onChange?.(state) ?? Effect.void], { discard: true })
    })
    const started = yield* Effect.flatMap(CommandWatchdog, ({ start }) => start)
    watchdog = Option.some(started)
    yield* moveWatchdog
    return {
      fencingToken: leadership.fencingToken,
      check: leadership.check,
      lost: Effect.raceFirst(leadership.lost, started.failed),
      cut: Effect.ignore(leadership.lost).pipe(
        Effect.zipRight(left),
        Effect.flatMap((left) =>
          Effect.sleep(Duration.subtract(Option.getOrElse(left, () => Duration.zero), margin(stopTimeout)))
        )
      ),
      guard: started.guard
    }
  })
