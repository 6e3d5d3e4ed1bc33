/**
 * Draws scenarios, plays each, and judges it, until one violates the guard or so many have kept it.
 */
import { Effect, FastCheck as fc } from "effect"
import { check, describeEntry } from "./check.ts"
import { type Scenario, scenario } from "./scenario.ts"
import { simulate, type Subject } from "./simulate.ts"

export interface Proof {
  readonly runs: number
  /** The same seed draws the same scenarios. */
  readonly seed?: number | undefined
  /** Where a failure was found, with its seed: only that is played again. */
  readonly path?: string | undefined
  /** Told after each run. */
  readonly onRun?: (() => void) | undefined
  /** Whether a smaller scenario is looked for that fails as well. That can take minutes, and memory. Default `true`. */
  readonly shrinks?: boolean | undefined
}

/** One scenario's violations, and after them what happened, line by line; `undefined` if the guard was kept. */
export const play = (subject: Subject, scenario: Scenario): Effect.Effect<string | undefined> =>
  Effect.map(simulate(subject, scenario), (report) => {
    const violations = check(scenario, report)
    return violations.length === 0
      ? undefined
      : `${violations.join("\n")}\n\n${report.log.map(describeEntry).join("\n")}`
  })

/** `undefined`, or what is to be shown: seed, path, the scenario (the smallest that was found), and its trace. */
export const prove = (
  subject: Subject,
  { onRun, path, runs, seed, shrinks = true }: Proof
): Effect.Effect<string | undefined> =>
  Effect.promise(async () => {
    const result = await fc.check(
      fc.asyncProperty(scenario, async (scenario) => {
        const fault = await Effect.runPromise(play(subject, scenario))
        onRun?.()
        if (fault !== undefined) throw new Error(fault)
      }),
      {
        numRuns: runs,
        endOnFailure: !shrinks,
        ...(seed === undefined ? {} : { seed }),
        ...(path === undefined ? {} : { path })
      }
    )
    return result.failed ? fc.defaultReportMessage(result) : undefined
  })
