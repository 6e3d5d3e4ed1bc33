/**
 * A mutant is a version of the sources with one mistake; `mutants.ts` lists them. For each mutant, these tests must find a scenario
 * in which the mutant breaks a rule of `check.ts`, and the unchanged sources break none.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Console, Effect, Exit, FastCheck as fc, Option } from "effect"
import { isTagged } from "effect/Predicate"
import { load } from "virtual:mutants"
import { check } from "./check.ts"
import { mutants, unchanged } from "./mutants.ts"
import { habitats, type Scenario } from "./scenario.ts"
import { type Player, simulate, type Subject } from "./simulate.ts"
import * as Original from "./subject.ts"

const violations = (subject: Subject, scenario: Scenario) =>
  Effect.map(simulate(subject, scenario), (report) => check(scenario, report))

const isLeftInControl = ({ exit, how }: Player): boolean =>
  how === "systemd" &&
  Option.exists(exit, (exit) =>
    Exit.isFailure(exit) && Option.exists(Cause.failureOption(exit.cause), (error) =>
      isTagged(error, "OwnerHealthy")))

/** The number of scenarios that a search draws. No mutant needs that many. */
const most = 1000
const seed = 20261120

const subjectOf = (name: string) =>
  Effect.promise(() => load[name]?.() ?? Promise.reject(new Error(`no mutant ${name}`)))

const drawn = new Map<keyof typeof habitats, ReadonlyArray<Scenario>>()

/** The scenarios of a kind. They are drawn once for all mutants, because drawing takes longer than playing one of them. */
const draw = (habitat: keyof typeof habitats): ReadonlyArray<Scenario> => {
  const known = drawn.get(habitat) ?? fc.sample(habitats[habitat], { numRuns: most, seed })
  drawn.set(habitat, known)
  return known
}

it.effect(
  "a guard without a mistake, put together as those with one, is caught by no schedule that catches them",
  () =>
    Effect.gen(function*() {
      const subject = yield* subjectOf(unchanged)
      assert.notStrictEqual(subject.LockFile, Original.LockFile)
      for (const { caughtBy, habitat, name } of mutants) {
        for (const scenario of draw(habitat).slice(caughtBy, caughtBy + 1)) {
          assert.deepStrictEqual(yield* violations(subject, scenario), [], `${name}: ${JSON.stringify(scenario)}`)
        }
      }
      // In this scenario, a gateway that systemd started is refused because the owner is healthy. By its exit status, the
      // simulated systemd knows not to restart it. The build `unchanged` must end with that exit status too.
      for (const scenario of draw("kernel locks").slice(2, 3)) {
        const report = yield* simulate(subject, scenario)
        assert.isTrue(report.players.some(isLeftInControl))
        assert.deepStrictEqual(check(scenario, report), [])
      }
    }),
  600_000
)

describe("a guard with a mistake in it is caught:", () => {
  for (const { caughtBy, habitat, name } of mutants) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const mutant = yield* subjectOf(name)
        const scenarios = draw(habitat)
        for (const scenario of [...scenarios.slice(caughtBy, caughtBy + 1), ...scenarios]) {
          const found = yield* violations(mutant, scenario)
          if (found.length === 0) continue
          assert.deepStrictEqual(yield* violations(Original, scenario), [], JSON.stringify(scenario))
          const at = scenarios.indexOf(scenario)
          // If another scenario than number `caughtBy` finds the mistake, each run has to search all scenarios, which is slow.
          // So the test warns until `caughtBy` has the new number.
          if (at !== caughtBy) yield* Console.warn(`${name}: caught by ${at}, no longer by ${caughtBy}`)
          return
        }
        assert.fail(`not caught in ${most} schedules`)
      }), 600_000)
  }
})
