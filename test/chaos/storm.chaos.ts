/**
 * Runs storms for minutes. In a storm, processes acquire one lock again and again. A second lock, the witness, is the judge: it
 * shows whether two processes ever held the lock at one time. The lock under test is this project's lock, with kernel locks and
 * without them. Two other locks test the judge: one of them is correct and the other is wrong.
 *
 * `GATEWAY_STORM_DURATION` is the shortest time for each mode. `GATEWAY_STORM_SEED` sets the seed that decides which worker
 * dies when.
 */
import { assert, describe, it } from "@effect/vitest"
import { Config, Console, Duration, Effect } from "effect"
import * as Storm from "./support/storm.ts"

const acquisitions = 10_000

/**
 * The longest time of a storm. A storm takes minutes on an idle machine. It can take longer on a busy machine, which is not a
 * failure of the lock.
 */
const patience = Duration.minutes(20)

const duration = Config.duration("GATEWAY_STORM_DURATION").pipe(Config.withDefault(Duration.minutes(2.5)))

const storm = (options: Omit<Storm.StormOptions, "atMost">) =>
  Storm.run({ ...options, atMost: patience }).pipe(Effect.tap((storm) => Console.log(Storm.describe(storm))))

const timeout = Duration.toMillis(patience) + 120_000

// In a storm, only one process at a time holds the lock and works. So most processors are idle, and several storms can run at once.
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
  for (const contender of ["kernel", "blocking", "record"] as const) {
    it.scopedLive(
      `no two of ${acquisitions} acquisitions overlap, kept apart by the ${contender}`,
      () =>
        Effect.gen(function*() {
          // Only 2 percent of the turns end in a death; the default is 4 percent. Deaths are slow, because a new process
          // replaces each dead worker, and the start of a process takes longer than any other step.
          const seen = yield* storm({
            contender,
            acquisitions,
            atLeast: yield* duration,
            killsPerThousand: 20,
            // This is the default poll interval of the gateway. With a shorter interval, the workers that wait would leave
            // little processor time for the other workers.
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
