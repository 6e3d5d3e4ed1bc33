/**
 * `gateway exec` runs one command at a time, whatever is killed when. The judge is a lock that each command takes itself.
 *
 * - The wrapper is killed at each system call from the first call on a lock file until the command runs.
 * - 64 wrappers start at once.
 * - In a storm, eight wrappers compete for the lock, and wrappers and commands are killed at drawn moments.
 *
 * `GATEWAY_EXEC_ROUNDS` sets the number of rounds of each storm. `GATEWAY_STORM_SEED` sets the seed that decides what is killed.
 */
import { assert, describe, it } from "@effect/vitest"
import { Config, Console, Duration, Effect } from "effect"
import * as Execs from "../e2e/support/execs.ts"
import * as Program from "../e2e/support/program.ts"
import * as Variants from "../e2e/support/variants.ts"
import * as Judge from "./support/execJudge.ts"
import * as ExecStorm from "./support/execStorm.ts"
import * as ExecSweep from "./support/execSweep.ts"
import * as Sweep from "./support/sweep.ts"

const rounds = Config.withDefault(Config.integer("GATEWAY_EXEC_ROUNDS"), 1000)

/** The longest time of a sweep or a storm, also on a busy machine. */
const patience = Duration.minutes(30)

const timeout = Duration.toMillis(patience) + 120_000

describe("gateway exec, killed at any system call of its start", () => {
  for (const mode of Sweep.modes) {
    const skipped = ExecSweep.unavailable(mode)
    it.scopedLive.skipIf(skipped !== undefined)(
      Program.named(`runs no two commands, and none without the lock: ${mode.name}`, skipped),
      () =>
        Effect.gen(function*() {
          const main = yield* mode.main
          const stage = Sweep.makeStage(mode, main, "a first start")
          const points = yield* Effect.flatMap(stage, ExecSweep.record)
          const results = yield* Sweep.sweep(points, stage, (stage, point) =>
            Sweep.result(
              `${point.of}: ${point.label} #${point.ordinal}`,
              Effect.map(
                ExecSweep.killAt(stage, point),
                ({ hit, left }) => `${left}${hit ? "" : " (killed at another call)"}`
              )
            ))
          yield* Sweep.conclude(`crash points of exec, ${mode.name}`, results)
        }),
      timeout
    )
  }
})

/** A storm in which a killed wrapper leaves its command without a lock. The judges must notice that, or they would notice nothing. */
const unguarded = { rounds: 200, flags: ["--no-inherit-lock"] }

describe("gateway exec, started 64 times at once", () => {
  const reason = Program.kernelLocks ? Program.without("flock") : "the program under test has no kernel locks"
  it.scopedLive.skipIf(reason !== undefined)(
    Program.named("runs one command, and the other starts end with 75", reason),
    () => Execs.assertOneOf(64),
    timeout
  )
})

describe("gateway exec, in a storm of killed wrappers and commands", () => {
  Variants.each(
    "runs no two commands at one time",
    Judge.unavailable,
    (main, { name }) =>
      Effect.gen(function*() {
        const storm = yield* ExecStorm.run({ main, rounds: yield* Effect.orDie(rounds), atMost: patience })
        yield* Console.log(ExecStorm.describe(name, storm))
        ExecStorm.assertHeld(storm)
        assert.isAtLeast(storm.rounds, yield* Effect.orDie(rounds))
      }),
    Variants.all,
    timeout
  )

  Variants.each(
    "with --no-inherit-lock is accused by the judges",
    Judge.unavailable,
    (main) =>
      Effect.gen(function*() {
        const storm = yield* ExecStorm.run({ main, ...unguarded, atMost: patience })
        assert.match(storm.accusations, /^\d+ ran beside \d+$/m)
      }),
    [Variants.kernel],
    timeout
  )
})
