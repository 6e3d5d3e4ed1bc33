/**
 * A few seconds of the witness storm, of which `test/chaos/storm.chaos.ts` is minutes.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Storm from "../chaos/support/storm.ts"

const brief = (contender: Storm.StormOptions["contender"], acquisitions: number, atMost: `${number} seconds`) =>
  Storm.run({ contender, acquisitions, atLeast: 0, atMost, killsPerThousand: 100 })

describe("the witness of a storm", () => {
  it.scopedLive("accuses nobody under a lock that is right, whose holders are killed", () =>
    Effect.gen(function*() {
      const seen = yield* brief("os-lock", 200, "60 seconds")
      assert.deepStrictEqual(seen.violations, [], Storm.describe(seen))
    }), 120_000)

  it.scopedLive("accuses those who have no lock", () =>
    Effect.gen(function*() {
      const seen = yield* brief("none", 200, "60 seconds")
      assert.isAbove(seen.refused, 0, Storm.describe(seen))
    }), 120_000)
})

describe("in a short storm of deaths and releases", () => {
  for (const contender of ["kernel", "record"] as const) {
    it.scopedLive(`no two acquisitions overlap, kept apart by the ${contender}`, () =>
      Effect.gen(function*() {
        const seen = yield* brief(contender, 200, "90 seconds")
        assert.deepStrictEqual(seen.violations, [], Storm.describe(seen))
        assert.deepStrictEqual(seen.failures, [], Storm.describe(seen))
        assert.isAtLeast(seen.acquisitions, 200)
        assert.isAbove(seen.killed, 0)
      }), 150_000)
  }
})
