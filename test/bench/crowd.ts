/**
 * Starts many processes at one time.
 */
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { BenchFailed, expectEnd, freePort, millis, startNode } from "./processes.ts"
import * as Program from "./program.ts"

/** In milliseconds: until all are settled, and the longest life of a process that ended. */
export interface Crowd {
  readonly total: number
  readonly slowest: number
}

const crowdOf = (began: bigint, lives: ReadonlyArray<{ readonly at: bigint; readonly life: number }>): Crowd => ({
  total: Math.max(...lives.map(({ at }) => millis(began, at))),
  slowest: Math.max(...lives.map(({ life }) => life))
})

/** The baseline: as many times `node -e 0`. */
export const nodes = (size: number) =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const began = clock.unsafeCurrentTimeNanos()
    const processes = yield* Effect.replicateEffect(startNode(["-e", "0"]), size)
    const lives = yield* Effect.forEach(processes, (process) =>
      Effect.map(expectEnd(process, 0), ({ at }) => ({ at, life: millis(process.startedAt, at) })), {
      concurrency: "unbounded"
    })
    return crowdOf(began, lives)
  })

/** Starts gateways with the same settings. Fails unless exactly one serves, and all others are refused. */
export const gateways = (size: number) =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const port = yield* freePort
    const clock = yield* Effect.clock
    const began = clock.unsafeCurrentTimeNanos()
    const processes = yield* Effect.replicateEffect(startNode(Program.gatewayArgs(folder, port)), size)
    const outcomes = yield* Effect.forEach(processes, (process) =>
      Effect.raceFirst(
        Effect.as(process.said("gateway listening"), Option.none()),
        Effect.map(
          expectEnd(process, 1, "GatewayLockError"),
          ({ at }) => Option.some({ at, life: millis(process.startedAt, at) })
        )
      ), { concurrency: "unbounded" })
    const losers = Array.getSomes(outcomes)
    if (losers.length !== size - 1) {
      return yield* new BenchFailed({ reason: `${size - losers.length} of ${size} starts serve` })
    }
    return crowdOf(began, losers)
  })
