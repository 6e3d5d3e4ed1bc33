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
  /** Told of the first violation as it was found: finding a smaller one can take minutes. */
  readonly onViolation?: ((fault: string) => void) | undefined
}

/** One scenario's violations, and after them what happened, line by line; `undefined` if the guard was kept. */
export const play = (subject: Subject, scenario: Scenario): Effect.Effect<string | undefined> =>
  Effect.map(simulate(subject, scenario), (report) => {
    const violations = check(scenario, report)
    return violations.length === 0
      ? undefined
      : `${violations.join("\n")}\n\n${report.log.map(describeEntry).join("\n")}`
  })

/** `undefined`, or what is to be shown: seed, path, the smallest scenario found that fails as well, and its trace. */
export const prove = (
  subject: Subject,
  { onRun, onViolation, path, runs, seed }: Proof
): Effect.Effect<string | undefined> =>
  Effect.promise(async () => {
    let tell = onViolation
    const result = await fc.check(
      fc.asyncProperty(scenario, async (scenario) => {
        const fault = await Effect.runPromise(play(subject, scenario))
        onRun?.()
        if (fault === undefined) return
        tell?.(fault)
        tell = undefined
        throw new Error(fault)
      }),
      { numRuns: runs, ...(seed === undefined ? {} : { seed }), ...(path === undefined ? {} : { path }) }
    )
    return result.failed ? fc.defaultReportMessage(result) : undefined
  })
