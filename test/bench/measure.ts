/**
 * Compares a subject with a baseline. The samples of the two are taken in turns, so that a busy machine slows both. Each sample
 * of the subject is compared with the sample of the baseline from the same turn. The result is the median of these comparisons.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { BenchFailed } from "./processes.ts"

/** One side of a comparison: a name and an effect that takes one sample. */
export interface Side<Sample> {
  readonly name: string
  readonly sample: Effect.Effect<Sample, BenchFailed, FileSystem.FileSystem | Scope.Scope>
}

const Unit = Schema.Literal("ms", "MiB", "KiB", "per second", "modules", "calls")
export type Unit = typeof Unit.Type

const Aim = Schema.Union(Schema.Struct({ most: Schema.Number }), Schema.Struct({ least: Schema.Number }))

/** The limit that a figure should meet. */
export type Aim = typeof Aim.Type

/** One line of the table of results. Its values are read from the samples of the subject and of the baseline. */
export interface Row<Sample> {
  readonly name: string
  readonly unit: Unit
  /** `undefined` if this machine cannot measure the value. */
  readonly read: (sample: Sample) => number | undefined
  readonly compare: "ratio" | "difference"
  readonly aim?: Aim
}

const spreadFields = { median: Schema.Number, lowerQuartile: Schema.Number, upperQuartile: Schema.Number }
const Spread = Schema.Struct(spreadFields)
export interface Spread extends Schema.Schema.Type<typeof Spread> {}

const Named = Schema.Struct({ name: Schema.String, ...spreadFields })

const measuredFields = {
  name: Schema.String,
  unit: Unit,
  /** `null` if the figure has none. */
  baseline: Schema.NullOr(Named),
  subject: Named,
  /**
   * The comparison of subject and baseline within each pair of samples, because a load on the machine affects both samples of a
   * pair. For `absolute`, the 95th percentile of the subject alone. For `alone`, its median.
   */
  comparison: Schema.Struct({ kind: Schema.Literal("ratio", "difference", "absolute", "alone"), ...spreadFields }),
  aim: Schema.NullOr(Aim),
  met: Schema.NullOr(Schema.Boolean),
  /** The number of samples of the subject. */
  runs: Schema.Number
}

/** One figure with the baseline that it is compared with. */
export const Measured = Schema.Struct(measuredFields)
export interface Measured extends Schema.Schema.Type<typeof Measured> {}

/** The `q`-quantile of values in ascending order. Interpolates linearly between the two nearest values. */
const quantile = (sorted: ReadonlyArray<number>, q: number): number => {
  const at = (sorted.length - 1) * q
  const below = sorted[Math.floor(at)] ?? Number.NaN
  const above = sorted[Math.ceil(at)] ?? Number.NaN
  return below + (above - below) * (at - Math.floor(at))
}

export const spread = (values: ReadonlyArray<number>): Spread => {
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
    met: isMet(options.aim, p95),
    runs: sorted.length
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
    met: options.aim === undefined ? null : isMet(options.aim, values.median),
    runs: options.samples.length
  }
}

const compared = { ratio: (b: number, s: number) => s / b, difference: (b: number, s: number) => s - b }

/** Fewer pairs say too little about the quartiles. */
const fewestRuns = 9

/**
 * How long one comparison may take, in milliseconds. After this time it ends once it has the fewest runs. So a busy machine, on which
 * everything takes longer, takes fewer runs.
 */
export class TimeBudget extends Context.Reference<TimeBudget>()("gateway-lock/bench/TimeBudget", {
  defaultValue: (): number => Number.POSITIVE_INFINITY
}) {}

/** The error of a median, as a part of it, below which further pairs would change no printed digit by much. */
const narrow = 0.01

/**
 * Whether the comparisons so far agree so well that more of them would not change the median. The standard error of a median is
 * about 0.93 times the range between the quartiles, divided by the root of the number of values.
 */
const isSettled = (comparisons: ReadonlyArray<Spread>, scales: ReadonlyArray<number>, runs: number): boolean =>
  runs >= fewestRuns
  && comparisons.every(({ lowerQuartile, upperQuartile }, row) =>
    0.93 * (upperQuartile - lowerQuartile) / Math.sqrt(runs) <= narrow * Math.abs(scales[row] ?? 0)
  )

interface Compared<Sample> {
  readonly row: Row<Sample>
  readonly before: ReadonlyArray<number>
  readonly after: ReadonlyArray<number>
  readonly comparison: Spread
}

/** Compares each pair by each row. Rows that this machine cannot measure are left out. */
const compareBy = <Sample>(
  rows: ReadonlyArray<Row<Sample>>,
  pairs: ReadonlyArray<readonly [baseline: Sample, subject: Sample]>
): ReadonlyArray<Compared<Sample>> =>
  rows.flatMap((row) => {
    const values = pairs.flatMap(([b, s]) => {
      const [before, after] = [row.read(b), row.read(s)]
      return before === undefined || after === undefined ? [] : [[before, after] as const]
    })
    if (values.length === 0) return []
    const comparison = spread(values.map(([b, s]) => compared[row.compare](b, s)))
    return [{ row, before: values.map(([b]) => b), after: values.map(([, s]) => s), comparison }]
  })

/**
 * Takes one pair of samples for warm-up, which does not count, and then at most `runs` pairs. Ends earlier once the comparisons of
 * all rows agree, or the `TimeBudget` is used up. Computes every row of the table from these pairs.
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
    const clock = yield* Effect.clock
    const budget = yield* TimeBudget
    const began = clock.unsafeCurrentTimeMillis()
    const pairs: Array<readonly [baseline: Sample, subject: Sample]> = []
    for (let run = 1; run <= runs; run += 1) {
      pairs.push(yield* pair(run))
      const sofar = compareBy(rows, pairs)
      // A difference can be near zero, so its error is seen beside the subject itself.
      const scales = sofar.map(({ after, comparison, row }) =>
        row.compare === "ratio" ? comparison.median : spread(after).median
      )
      if (isSettled(sofar.map(({ comparison }) => comparison), scales, run)) break
      if (run >= fewestRuns && clock.unsafeCurrentTimeMillis() - began > budget) break
    }
    return compareBy(rows, pairs).map(({ after, before, comparison, row: { aim, compare, name, unit } }): Measured => ({
      name,
      unit,
      baseline: { name: baseline, ...spread(before) },
      subject: { name: subject, ...spread(after) },
      comparison: { kind: compare, ...comparison },
      aim: aim ?? null,
      met: aim === undefined ? null : isMet(aim, comparison.median),
      runs: after.length
    }))
  })

/**
 * Samples baseline and subject in turns: one pair for warm-up, which does not count, and then at most `runs` pairs. Computes every
 * row of the table from these pairs.
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
