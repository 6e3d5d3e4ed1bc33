/**
 * Compares a subject with a baseline. The samples of the two are taken in turns, so that a busy machine slows both. Each sample
 * of the subject is compared with the sample of the baseline from the same turn. The result is the median of these comparisons.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { BenchFailed } from "./processes.ts"

/** One side of a comparison: a name and an effect that takes one sample. */
export interface Side<Sample> {
  readonly name: string
  readonly sample: Effect.Effect<Sample, BenchFailed, FileSystem.FileSystem | Scope.Scope>
}

export type Unit = "ms" | "MiB" | "KiB" | "per second" | "modules" | "calls"

/** The limit that a figure should meet. */
export type Aim = { readonly most: number } | { readonly least: number }

/** One line of the table of results. Its values are read from the samples of the subject and of the baseline. */
export interface Row<Sample> {
  readonly name: string
  readonly unit: Unit
  /** `undefined` if this machine cannot measure the value. */
  readonly read: (sample: Sample) => number | undefined
  readonly compare: "ratio" | "difference"
  readonly aim?: Aim
}

export interface Spread {
  readonly median: number
  readonly lowerQuartile: number
  readonly upperQuartile: number
}

export interface Measured {
  readonly name: string
  readonly unit: Unit
  /** `null` if the figure has none. */
  readonly baseline: Spread & { readonly name: string } | null
  readonly subject: Spread & { readonly name: string }
  /**
   * The comparison of subject and baseline within each pair of samples, because a load on the machine affects both samples of a
   * pair. For `absolute`, the 95th percentile of the subject alone. For `alone`, its median.
   */
  readonly comparison: Spread & { readonly kind: "ratio" | "difference" | "absolute" | "alone" }
  readonly aim: Aim | null
  readonly met: boolean | null
}

/** The `q`-quantile of values in ascending order. Interpolates linearly between the two nearest values. */
const quantile = (sorted: ReadonlyArray<number>, q: number): number => {
  const at = (sorted.length - 1) * q
  const below = sorted[Math.floor(at)] ?? Number.NaN
  const above = sorted[Math.ceil(at)] ?? Number.NaN
  return below + (above - below) * (at - Math.floor(at))
}

const spread = (values: ReadonlyArray<number>): Spread => {
  const sorted = values.toSorted((a, b) => a - b)
  return {
    median: quantile(sorted, 0.5),
    lowerQuartile: quantile(sorted, 0.25),
    upperQuartile: quantile(sorted, 0.75)
  }
}

const isMet = (aim: Aim, value: number): boolean => "most" in aim ? value <= aim.most : value >= aim.least

/**
 * Makes a line of the table that compares the 95th percentile of the subject with an absolute aim. The line shows the baseline
 * only for information: the baseline does not decide whether the aim is met.
 */
export const percentile95 = (options: {
  readonly name: string
  readonly baseline: { readonly name: string; readonly samples: ReadonlyArray<number> }
  readonly subject: { readonly name: string; readonly samples: ReadonlyArray<number> }
  readonly aim: Aim
}): Measured => {
  const sorted = options.subject.samples.toSorted((a, b) => a - b)
  const p95 = quantile(sorted, 0.95)
  return {
    name: options.name,
    unit: "ms",
    baseline: { name: options.baseline.name, ...spread(options.baseline.samples) },
    subject: { name: options.subject.name, ...spread(options.subject.samples) },
    comparison: { kind: "absolute", median: p95, lowerQuartile: p95, upperQuartile: quantile(sorted, 1) },
    aim: options.aim,
    met: isMet(options.aim, p95)
  }
}

/** Makes a line of the table for a figure that has no baseline. Its median is compared with an absolute aim. */
export const alone = (options: {
  readonly name: string
  readonly unit: Unit
  readonly samples: ReadonlyArray<number>
  readonly aim?: Aim
}): Measured => {
  const values = spread(options.samples)
  return {
    name: options.name,
    unit: options.unit,
    baseline: null,
    subject: { name: options.name, ...values },
    comparison: { kind: "alone", ...values },
    aim: options.aim ?? null,
    met: options.aim === undefined ? null : isMet(options.aim, values.median)
  }
}

const compared = { ratio: (b: number, s: number) => s / b, difference: (b: number, s: number) => s - b }

/**
 * Takes one pair of samples for warm-up, which does not count, and then `runs` pairs. Computes every row of the table from these
 * pairs. Rows that this machine cannot measure are left out.
 */
export const measurePairs = <Sample, R>(options: {
  readonly runs: number
  readonly baseline: string
  readonly subject: string
  /**
   * Takes one sample of the baseline and one of the subject, and returns them in this order. `run` is the number of the pair.
   */
  readonly pair: (run: number) => Effect.Effect<readonly [baseline: Sample, subject: Sample], BenchFailed, R>
  readonly rows: ReadonlyArray<Row<Sample>>
}): Effect.Effect<ReadonlyArray<Measured>, BenchFailed, R> =>
  Effect.gen(function*() {
    const { baseline, pair, rows, runs, subject } = options
    yield* pair(0)
    const pairs = yield* Effect.forEach(Array.range(1, runs), pair)
    return rows.flatMap(({ aim, compare, name, read, unit }) => {
      const values = pairs.flatMap(([b, s]) => {
        const [before, after] = [read(b), read(s)]
        return before === undefined || after === undefined ? [] : [[before, after] as const]
      })
      if (values.length === 0) return []
      const comparison = spread(values.map(([b, s]) => compared[compare](b, s)))
      return [{
        name,
        unit,
        baseline: { name: baseline, ...spread(values.map(([b]) => b)) },
        subject: { name: subject, ...spread(values.map(([, s]) => s)) },
        comparison: { kind: compare, ...comparison },
        aim: aim ?? null,
        met: aim === undefined ? null : isMet(aim, comparison.median)
      }]
    })
  })

/**
 * Samples baseline and subject in turns: one pair for warm-up, which does not count, and then `runs` pairs. Computes every row of
 * the table from these pairs.
 */
export const measure = <Sample>(options: {
  readonly runs: number
  readonly baseline: Side<Sample>
  readonly subject: Side<Sample>
  readonly rows: ReadonlyArray<Row<Sample>>
}): Effect.Effect<ReadonlyArray<Measured>, BenchFailed, FileSystem.FileSystem> => {
  const [before, after] = [Effect.scoped(options.baseline.sample), Effect.scoped(options.subject.sample)]
  return measurePairs({
    runs: options.runs,
    baseline: options.baseline.name,
    subject: options.subject.name,
    // The baseline goes first in every second pair, and the subject in the others. Otherwise one of them would always go
    // second, when the processor is warmer.
    pair: (run) =>
      run % 2 === 0
        ? Effect.all([before, after])
        : Effect.map(Effect.all([after, before]), ([subject, baseline]) => [baseline, subject] as const),
    rows: options.rows
  })
}
