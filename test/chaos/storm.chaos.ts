/**
 * Runs the witness storm for minutes: on both modes of the lock, and on two controls that test the judge, one correct and one
 * wrong.
 *
 * `GATEWAY_STORM_DURATION` is the least time for each mode; `GATEWAY_STORM_SEED` sets the fates.
 */
import { assert, describe, it } from "@effect/vitest"
import { Config, Console, Duration, Effect } from "effect"
import * as Storm from "./support/storm.ts"

const acquisitions = 10_000

/** The longest time of a storm. It takes minutes on an idle machine; on a busy one the extra time is no failure of the lock. */
const patience = Duration.minutes(20)

const duration = Config.duration("GATEWAY_STORM_DURATION").pipe(Config.withDefault(Duration.minutes(2.5)))

const storm = (options: Omit<Storm.StormOptions, "atMost">) =>
  Storm.run({ ...options, atMost: patience }).pipe(Effect.tap((storm) => Console.log(Storm.describe(storm))))

const timeout = Duration.toMillis(patience) + 120_000

// A storm hands one lock from process to process, which leaves processors idle. So several storms can run at one time.
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
          // A new process replaces each killed worker. That takes longer than any other step.
          const seen = yield* storm({
            contender,
            acquisitions,
            atLeast: yield* duration,
            killsPerThousand: 20,
            // The default interval of the program. A shorter one would leave little processor time for other work.
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
