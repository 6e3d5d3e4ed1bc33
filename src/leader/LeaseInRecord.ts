/**
 * Keeps the state of the leadership in the record of the lock file, where `gateway status` and other starts read it.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { ElapsedTime } from "../host/ElapsedTime.ts"
import * as Changing from "../internal/changing.ts"
import type * as LockFile from "../lock/LockFile.ts"
import type { LeaseRecord } from "../lock/OwnerRecord.ts"
import { detachSpan } from "../telemetry/spans.ts"
import type { LeadershipState } from "./Election.ts"

export interface LeaseInRecord {
  /** Notes a change of the leadership. Never waits for the file system. */
  readonly onChange: (state: LeadershipState) => Effect.Effect<void>
  /** Completes once the record says that this process leads. A file system that does not answer delays it by at most a second. */
  readonly saysLeader: Effect.Effect<void>
}

const longestWait = Duration.seconds(1)

/** The lease as the record has it. `undefined` if the record stays as it is. */
const recordOf = (
  lease: Pick<LeaseRecord, "name" | "store">,
  state: LeadershipState,
  before: LeaseRecord,
  toTime: (moment: bigint) => string
): LeaseRecord | undefined => {
  switch (state._tag) {
    case "Candidate":
      return before.state === "standby" ? undefined : { ...lease, state: "standby" }
    case "Leader":
      return {
        ...lease,
        state: "leader",
        fencingToken: String(state.fencingToken),
        renewedAt: toTime(state.renewedAt),
        trustedUntil: toTime(state.trustedUntil)
      }
    case "Lost": {
      const { trustedUntil: _, ...others } = before
      return { ...others, state: "lost" }
    }
    case "Released":
      return undefined
  }
}

/**
 * Writes that this process stands by, and then each change until the scope closes. A leader must not wait for a write, so a fiber of its
 * own writes. It skips the changes that come during a write, except the last one.
 */
export const make = (
  lock: Pick<LockFile.LockFile["Type"], "update">,
  lease: Pick<LeaseRecord, "name" | "store">
): Effect.Effect<LeaseInRecord, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { now } = yield* ElapsedTime
    const saysLeader = yield* Deferred.make<void>()
    const state = yield* Changing.make<LeadershipState | undefined>(undefined)
    let written: LeaseRecord = { ...lease, state: "standby" }
    yield* lock.update({ lease: written })
    const write = (value: LeadershipState) =>
      Effect.gen(function*() {
        const [time, moment] = [yield* Clock.currentTimeMillis, yield* now]
        const toTime = (at: bigint) =>
          DateTime.formatIso(DateTime.unsafeMake(time + Math.round(Number(at - moment) / 1e6)))
        const next = recordOf(lease, value, written, toTime)
        if (next === undefined) return
        written = next
        // A daemon: an interruption must not leave a write that is half done.
        yield* Effect.flatMap(Effect.forkDaemon(lock.update({ lease: next })), Fiber.join)
        if (next.state === "leader") yield* Deferred.succeed(saysLeader, undefined)
      })
    yield* Effect.gen(function*() {
      const { outdated, value } = yield* state.current
      if (value !== undefined) yield* write(value)
      yield* outdated
    }).pipe(Effect.forever, detachSpan, Effect.interruptible, Effect.forkScoped)
    return {
      onChange: (next) => state.update(() => next),
      saysLeader: Effect.asVoid(Effect.timeoutOption(Deferred.await(saysLeader), longestWait))
    }
  })
