/**
 * Starts a gateway 64 times at one moment, in several rounds. In each round, exactly one start may win. `test/e2e/storm.test.ts`
 * runs a few rounds, and this file runs more of them.
 *
 * `GATEWAY_STARTS_ROUNDS` sets the number of rounds.
 */
import { describe, it } from "@effect/vitest"
import { Config, Effect } from "effect"
import * as Storm from "../e2e/support/storm.ts"

const rounds = Config.withDefault(Config.integer("GATEWAY_STARTS_ROUNDS"), 10)

describe("64 simultaneous starts", () => {
  it.scopedLive(
    "have exactly one winner, named by every loser, in each round",
    () => Effect.flatMap(rounds, (rounds) => Storm.rounds(rounds, 64)),
    600_000
  )
})
