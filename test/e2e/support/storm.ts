/**
 * Many simultaneous starts of one gateway.
 */
import { assert } from "@effect/vitest"
import { Array, Effect, Option } from "effect"
import * as Gateways from "./gateways.ts"
import type * as Processes from "./processes.ts"

/** The starts get a lower priority, because other tests share the machine. */
const niceness = 10

/**
 * With many processes on few cores, the start that gets the lock (the winner) needs long until it listens. The other starts wait
 * until then, so their lock timeout is long.
 */
const patient = ["--lock-timeout", "1 minutes"]

type Outcome =
  | { readonly _tag: "Listening"; readonly gateway: Processes.Running }
  | { readonly _tag: "Ended"; readonly ended: Processes.Ended }

const settle = (gateway: Processes.Running): Effect.Effect<Outcome> =>
  Effect.raceFirst(
    Effect.map(gateway.ended, (ended): Outcome => ({ _tag: "Ended", ended })),
    Effect.andThen(gateway.listening, Effect.succeed<Outcome>({ _tag: "Listening", gateway }))
  )

/**
 * Starts `starters` gateways with the same folders and port at the same time, and checks that exactly one gets the lock. Returns
 * this winner once all others have ended with an error that names the winner.
 */
export const round = (site: Gateways.Site, starters: number, options: Gateways.StartOptions = {}) =>
  Effect.gen(function*() {
    const gateways = yield* Effect.forEach(
      Array.range(1, starters),
      () => Gateways.start(site, { niceness, flags: patient, patience: "80 seconds", ...options }),
      { concurrency: "unbounded" }
    )
    const outcomes = yield* Effect.forEach(gateways, settle, { concurrency: "unbounded" })
    const winners = Array.filterMap(
      outcomes,
      (outcome) => outcome._tag === "Listening" ? Option.some(outcome.gateway) : Option.none()
    )
    const [winner, ...others] = winners
    if (winner === undefined || others.length > 0) {
      const ends = outcomes.map((outcome) => outcome._tag === "Ended" ? outcome.ended.stderr : "listening")
      return yield* Effect.dieMessage(`${winners.length} winners\n${ends.join("\n")}`)
    }
    assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
    for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
      assert.strictEqual((yield* Gateways.readRecord(path)).pid, winner.pid, path)
    }
    for (const outcome of outcomes) {
      if (outcome._tag === "Listening") continue
      const { ended } = outcome
      const message = ended.stderr.split("\n").find((line) => line.startsWith("GatewayLockError: "))
      assert.strictEqual(ended.code, 1, ended.stderr)
      assert.strictEqual(
        message,
        `GatewayLockError: another gateway instance is already listening on ${Gateways.url(site)}`,
        ended.stderr
      )
      assert.strictEqual(Gateways.facts(ended)["held by"], `pid ${winner.pid} (node)`, ended.stderr)
    }
    return winner
  })

/**
 * Runs rounds with the same folders and port. The winner of a round ends by SIGTERM or SIGKILL in turn, so the next round finds
 * either an empty lock folder or the files of a crashed gateway.
 */
export const rounds = (count: number, starters: number, options: Gateways.StartOptions = {}) =>
  Effect.gen(function*() {
    const site = yield* Gateways.newSite
    for (let number = 1; number <= count; number++) {
      yield* Effect.scoped(
        Effect.flatMap(
          round(site, starters, options),
          (winner) => Gateways.stop(winner, number % 2 === 0 ? "SIGKILL" : "SIGTERM")
        )
      )
    }
  })
