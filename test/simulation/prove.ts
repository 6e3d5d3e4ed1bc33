/**
 * Draws scenarios, plays and judges each, until one violates the guard or the number of runs is reached.
 */
import { Effect, FastCheck as fc } from "effect"
import { check, describeEntry } from "./check.ts"
import { type Scenario, scenario } from "./scenario.ts"
import { simulate, type Subject } from "./simulate.ts"

export interface Proof {
  readonly runs: number
  /** The same seed draws the same scenarios. */
  readonly seed?: number | undefined
  /** The path of a failure, used with its seed: only that scenario is played. */
  readonly path?: string | undefined
  /** Called after each run. */
  readonly onRun?: (() => void) | undefined
  /** Whether to search for a smaller scenario that fails as well. That can take minutes and much memory. Default: `true`. */
  readonly shrinks?: boolean | undefined
}

/** Plays one scenario. Returns its violations and then the log, line by line; `undefined` if the guard was kept. */
export const play = (subject: Subject, scenario: Scenario): Effect.Effect<string | undefined> =>
  Effect.map(simulate(subject, scenario), (report) => {
    const violations = check(scenario, report)
    return violations.length === 0
      ? undefined
      : `${violations.join("\n")}\n\n${report.log.map(describeEntry).join("\n")}`
  })

/** Returns `undefined`, or the report of a failure: seed, path, the smallest failing scenario that was found, and its trace. */
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
