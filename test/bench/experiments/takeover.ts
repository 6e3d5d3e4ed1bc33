/**
 * Measures how soon a standby serves after the owner of the lock crashed. A standby is a gateway that waits until the owner
 * ends.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { percentile95 } from "../measure.ts"
import { BenchFailed, firstAnswer, freePort, millis, startNode } from "../processes.ts"
import * as Program from "../program.ts"

const takeovers = 40

/** How long the standbys have waited when the owner crashes. In that time V8 compiles what they have rehearsed, on other threads. */
const waited = Duration.millis(200)

/** Kills the serving gateway while standbys wait for its lock. Measures the time until the port answers again. */
const takeoverBy = (standbys: number) =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const port = yield* freePort
    const clock = yield* Effect.clock
    const start = (...flags: ReadonlyArray<string>) => startNode([...Program.gatewayArgs(folder, port), ...flags])
    const standby = Effect.tap(start("--standby"), (process) => process.said("standing by"))

    const cold: Array<number> = []
    const samples: Array<number> = []
    let owner = yield* start()
    cold.push(millis(owner.startedAt, yield* firstAnswer(owner, port)))
    let waiting = yield* Effect.replicateEffect(standby, standbys)
    for (let round = 0; round < takeovers; round += 1) {
      yield* Effect.sleep(waited)
      const killedAt = clock.unsafeCurrentTimeNanos()
      owner.kill("SIGKILL")
      const next = yield* Effect.raceAll(
        waiting.map((process) => Effect.as(process.said("gateway listening"), process))
      ).pipe(
        Effect.zip(Effect.flatMap(firstOf(waiting), (process) => firstAnswer(process, port)), { concurrent: true })
      )
      samples.push(millis(killedAt, next[1]))
      owner = next[0]
      waiting = [...waiting.filter((process) => process !== owner), yield* standby]
    }
    return percentile95({
      name: `takeover after SIGKILL, ${standbys === 1 ? "1 standby" : `${standbys} standbys`}`,
      baseline: { name: "cold start to first 200", samples: cold },
      subject: { name: `${takeovers} takeovers`, samples },
      aim: { most: 30 }
    })
  }).pipe(Effect.scoped)

/** One standby, and three that compete for the processors and the lock. */
export const takeover: Program.Experiment = () => Effect.forEach([1, 3], takeoverBy)

const firstOf = <A>(list: ReadonlyArray<A>): Effect.Effect<A, BenchFailed> => {
  const [first] = list
  return first === undefined ? new BenchFailed({ reason: "nobody waits" }) : Effect.succeed(first)
}
