/**
 * Draws scenarios, plays each on a simulated host, and judges the result. Ends at the first scenario that breaks a rule of
 * `check.ts`, or after the given number of runs.
 */
import { Effect, FastCheck as fc } from "effect"
import { check, describeEntry } from "./check.ts"
import { type Scenario, scenario } from "./scenario.ts"
import { simulate, type Subject } from "./simulate.ts"

export interface Proof {
  readonly runs: number
  /** The same seed draws the same scenarios. */
  readonly seed?: number | undefined
  /** The path of fast-check that a failure printed, for use with the seed of that failure. Only the scenario that failed is played. */
  readonly path?: string | undefined
  /** Called after each run. */
  readonly onRun?: (() => void) | undefined
  /**
   * Whether to search for a smaller scenario after one has broken a rule. The search can take minutes and much memory. Default:
   * `true`.
   */
  readonly shrinks?: boolean | undefined
}

/**
 * Plays one scenario. Returns `undefined` if the scenario broke no rule of `check.ts`. Otherwise returns the violations and
 * then the log, line by line.
 */
export const play = (subject: Subject, scenario: Scenario): Effect.Effect<string | undefined> =>
  Effect.map(simulate(subject, scenario), (report) => {
    const violations = check(scenario, report)
    return violations.length === 0
      ? undefined
      : `${violations.join("\n")}\n\n${report.log.map(describeEntry).join("\n")}`
  })

/**
 * Returns `undefined` if no scenario broke a rule of `check.ts`. Otherwise returns a report: the seed and the path with which
 * fast-check replays the failure, the smallest failing scenario that was found, and its violations and log.
 */
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
