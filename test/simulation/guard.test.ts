import { assert, describe, it } from "@effect/vitest"
import { Config, Effect, Option } from "effect"
import { prove } from "./prove.ts"
import * as Original from "./subject.ts"

/**
 * The settings of a run. If a scenario fails, the test prints the seed and the path by which fast-check drew it. With these in
 * `GATEWAY_SIMULATION_SEED` and `GATEWAY_SIMULATION_PATH`, the test plays only that scenario. `npm run test:soak` draws new seeds.
 */
const settings = Effect.runSync(Effect.all({
  runs: Config.withDefault(Config.integer("GATEWAY_SIMULATION_RUNS"), 60),
  seed: Config.withDefault(Config.integer("GATEWAY_SIMULATION_SEED"), 20261120),
  path: Config.option(Config.string("GATEWAY_SIMULATION_PATH"))
}))

describe("on a simulated host", () => {
  it.effect(
    `the guard is kept, whatever befalls whom at which system call, in ${settings.runs} schedules`,
    () =>
      Effect.gen(function*() {
        const fault = yield* prove(Original, {
          runs: settings.runs,
          seed: settings.seed,
          path: Option.getOrUndefined(settings.path)
        })
        if (fault !== undefined) assert.fail(fault)
      }),
    3_600_000
  )
})
