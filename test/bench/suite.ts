/**
 * Measures the experiments, one after another, and those that start processes in both ways.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import type * as Scope from "effect/Scope"
import * as Certificates from "./certificates.ts"
import { type Measured, TimeBudget } from "./measure.ts"
import type { Chosen, Options } from "./options.ts"
import { type BenchFailed, Environment } from "./processes.ts"
import { type Figure, legend, type Results, results } from "./report.ts"

/** How long a comparison may take if `--runs` is absent, in seconds. Then the whole table takes less than ten minutes. */
const budget = 10

/** With certificates there is no aim, so fewer runs are enough. */
const certificateRuns = 9

const isSameFigure = (one: Measured, other: Measured): boolean =>
  one.name === other.name && one.baseline?.name === other.baseline?.name

const one = (options: Options, certificates: string) => ([name, entry]: Chosen) =>
  Effect.gen(function*() {
    const most = options.hasRuns ? options.runs : Math.min(options.runs, entry.mostRuns ?? options.runs)
    // The table of results appears only after minutes. Until then, stderr shows the progress.
    yield* Console.error(`measuring ${name}`)
    const [took, figures] = yield* Effect.timedWith(
      Effect.gen(function*() {
        const without = yield* Effect.scoped(entry.measure(most))
        if (!entry.hasStarts) return without.map((figure): Figure => ({ ...figure, certificates: null }))
        const environment = { ...yield* Environment, NODE_EXTRA_CA_CERTS: certificates }
        const withThem = yield* entry.measure(Math.min(most, certificateRuns)).pipe(
          Effect.scoped,
          Effect.provideService(Environment, environment)
        )
        return without.map((figure): Figure => ({
          ...figure,
          certificates: withThem.find((other) => isSameFigure(figure, other)) ?? null
        }))
      }).pipe(options.hasRuns ? identity : Effect.provideService(TimeBudget, (entry.budget ?? budget) * 1000)),
      Clock.currentTimeNanos
    )
    yield* Console.error(`  took ${Duration.format(Duration.seconds(Math.round(Duration.toSeconds(took))))}`)
    return figures
  })

/** Measures the chosen experiments. One that fails does not lose the figures of the others. */
const measureAll = (options: Options) =>
  Effect.gen(function*() {
    const certificates = yield* Certificates.file
    return yield* Effect.partition(options.chosen, (chosen) =>
      one(options, certificates)(chosen).pipe(
        Effect.mapError(({ message }) => `${chosen[0]}: ${message}`),
        Effect.tapError((failure) => Console.error(`  failed: ${failure}`))
      ))
  })

export const all = (
  options: Options
): Effect.Effect<Results, BenchFailed, FileSystem.FileSystem | Scope.Scope> =>
  Effect.map(measureAll(options), ([failures, figures]) => {
    const rows = figures.flat()
    return {
      values: { runs: options.runs, rows },
      text: [results(options.format, rows), ...(options.format === "text" ? ["", legend] : [])].join("\n"),
      failures
    }
  })
