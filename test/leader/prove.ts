/**
 * Draws scenarios of an election, and plays each on simulated hosts. Ends at the first scenario that breaks a rule of the judge, or
 * after the given number of runs.
 */
import { Effect, FastCheck as fc } from "effect"
import { scenario } from "./scenario.ts"
import { simulate, type Subject } from "./simulate.ts"

export interface Proof {
  readonly runs: number
  /** The same seed draws the same scenarios. */
  readonly seed: number
  /** The path of fast-check that a failure printed. Only that scenario is played. */
  readonly path?: string | undefined
  /** Called after each run. */
  readonly onRun?: (() => void) | undefined
  /** Whether to search for a smaller scenario after one has broken a rule. */
  readonly shrinks: boolean
}

/** Returns `undefined` if no scenario broke a rule. Otherwise the seed, the path, the scenario and the rules. */
export const prove = (
  subject: Subject,
  { onRun, path, runs, seed, shrinks }: Proof
): Effect.Effect<string | undefined> =>
  Effect.promise(async () => {
    const result = await fc.check(
      fc.asyncProperty(scenario, async (scenario) => {
        const broken = await Effect.runPromise(simulate(subject, scenario))
        onRun?.()
        if (broken.length > 0) throw new Error(broken.join("\n"))
      }),
      { numRuns: runs, seed, endOnFailure: !shrinks, ...(path === undefined ? {} : { path }) }
    )
    return result.failed ? fc.defaultReportMessage(result) : undefined
  })
