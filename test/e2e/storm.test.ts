import { describe, it } from "@effect/vitest"
import * as Storm from "./support/storm.ts"

/** `test/chaos/starts.chaos.ts` runs more rounds. */
const rounds = 2

describe("20 simultaneous starts", () => {
  it.scopedLive(
    `have exactly one winner, named by every loser, in each of ${rounds} rounds`,
    () => Storm.rounds(rounds, 20),
    600_000
  )
})
