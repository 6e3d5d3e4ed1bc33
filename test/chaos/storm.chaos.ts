/**
 * Minutes of the witness storm: the lock's two modes, and the two controls that say what the judge is worth.
 *
 * `GATEWAY_STORM_DURATION` (at least so long for each mode), `GATEWAY_STORM_SEED`.
 */
import { assert, describe, it } from "@effect/vitest"
import { Config, Console, Duration, Effect } from "effect"
import * as Storm from "./support/storm.ts"

const acquisitions = 10_000

/** Minutes on an idle machine; a busy one is given time, and is no failure of the lock. */
const patience = Duration.minutes(20)

const duration = Config.duration("GATEWAY_STORM_DURATION").pipe(Config.withDefault(Duration.minutes(2.5)))

const storm = (options: Omit<Storm.StormOptions, "atMost">) =>
  Storm.run({ ...options, atMost: patience }).pipe(Effect.tap((storm) => Console.log(Storm.describe(storm))))

const timeout = Duration.toMillis(patience) + 120_000

// Each hands one lock from process to process, which does not use all of the processors all of the time.
const sideBySide = { concurrent: true }

describe("the witness", sideBySide, () => {
  it.scopedLive("accuses nobody under a lock that is right, whose holders are killed", () =>
    Effect.gen(function*() {
      const seen = yield* storm({ contender: "os-lock", acquisitions: 2000, atLeast: 0 })
      assert.deepStrictEqual(seen.violations, [])
      assert.deepStrictEqual(seen.failures, [])
      assert.isAbove(seen.killed, 20)
    }), timeout)

  it.scopedLive("sees through a pid file that is removed when its pid is dead", () =>
    Effect.gen(function*() {
      const seen = yield* storm({ contender: "pid-file", acquisitions: 1000, atLeast: 0 })
      assert.isAbove(seen.refused, 0)
    }), timeout)
})

describe("in a storm of deaths and releases", sideBySide, () => {
  for (const contender of ["kernel", "record"] as const) {
    it.scopedLive(
      `no two of ${acquisitions} acquisitions overlap, kept apart by the ${contender}`,
      () =>
        Effect.gen(function*() {
          // Whoever is killed is replaced by a new process, which takes longer than anything else here.
          const seen = yield* storm({
            contender,
            acquisitions,
            atLeast: yield* duration,
            killsPerThousand: 20,
            // As the program does if nothing else is said. More often, the processors have little time for anything else.
            pollMillis: 100
          })
          assert.deepStrictEqual(seen.violations, [])
          assert.isAtLeast(seen.acquisitions, acquisitions)
          assert.isAbove(seen.killed, acquisitions / 100)
        }),
      timeout
    )
  }
})
