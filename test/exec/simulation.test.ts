/**
 * Runs `gateway exec` on a simulated host, with drawn commands, signals, deaths, losses of the lock and stops. Wrong versions of the
 * sources (`mutants.ts`) must break a rule of the judge in a scenario in which the unchanged sources break none.
 */
import { assert, describe, it } from "@effect/vitest"
import { Console, Effect, FastCheck as fc } from "effect"
import { loadExec } from "virtual:mutants"
import { numRuns } from "../arbitraries.ts"
import { unchanged } from "../simulation/mutants.ts"
import { execMutants } from "./mutants.ts"
import { type Scenario, scenario } from "./scenario.ts"
import { simulate } from "./simulate.ts"
import * as Original from "./subject.ts"

/** The number of scenarios that a search draws. */
const most = 1000

/** The scenarios of the searches. They are drawn once for all mutants. */
const drawn: ReadonlyArray<Scenario> = fc.sample(scenario, { numRuns: most, seed: 20261129 })

const subjectOf = (name: string) =>
  Effect.promise(() => loadExec[name]?.() ?? Promise.reject(new Error(`no mutant ${name}`)))

describe("exec on a simulated host", () => {
  it.effect.prop(
    "keeps every rule in drawn scenarios",
    [scenario],
    ([scenario]) => Effect.map(simulate(Original, scenario), (broken) => assert.deepStrictEqual(broken, [])),
    {
      timeout: 120_000,
      fastCheck: { numRuns: numRuns * 2 }
    }
  )

  it.effect("keeps them too if it is loaded as the mutants are", () =>
    Effect.gen(function*() {
      const subject = yield* subjectOf(unchanged)
      assert.notStrictEqual(subject.execWith, Original.execWith)
      for (const { caughtBy, name } of execMutants) {
        for (const scenario of drawn.slice(caughtBy, caughtBy + 1)) {
          assert.deepStrictEqual(yield* simulate(subject, scenario), [], name)
        }
      }
    }), 120_000)
})

describe("a mistake in exec is found:", () => {
  for (const { caughtBy, name } of execMutants) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const mutant = yield* subjectOf(name)
        for (const scenario of [...drawn.slice(caughtBy, caughtBy + 1), ...drawn]) {
          if ((yield* simulate(mutant, scenario)).length === 0) continue
          assert.deepStrictEqual(yield* simulate(Original, scenario), [], JSON.stringify(scenario))
          const at = drawn.indexOf(scenario)
          // The search takes long, so the test warns until `caughtBy` has the new number.
          if (at !== caughtBy) yield* Console.warn(`${name}: caught by ${at}, no longer by ${caughtBy}`)
          return
        }
        assert.fail(`not caught in ${most} scenarios`)
      }), 300_000)
  }
})
