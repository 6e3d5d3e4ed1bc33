import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { measurePairs, TimeBudget } from "./measure.ts"

/** Compares samples of this ratio to the baseline 100. The first pair is the warm-up. */
const measured = (runs: number, ratio: (run: number) => number) =>
  Effect.map(
    measurePairs({
      runs,
      baseline: "baseline",
      subject: "subject",
      pair: (run) => Effect.succeed([100, 100 * ratio(run)] as const),
      rows: [{ name: "figure", unit: "ms", read: (sample: number) => sample, compare: "ratio", aim: { most: 2 } }]
    }),
    ([row]) => {
      if (row === undefined) throw new Error("no row")
      return row
    }
  )

describe("a comparison", () => {
  it.effect("takes all runs if they differ", () =>
    Effect.gen(function*() {
      const row = yield* measured(21, (run) => run % 2 === 0 ? 1 : 3)
      assert.strictEqual(row.runs, 21)
      assert.strictEqual(row.comparison.median, 3)
      assert.strictEqual(row.met, false)
    }))

  it.effect("ends after nine runs that agree", () =>
    Effect.gen(function*() {
      const row = yield* measured(21, (run) => run === 0 ? 50 : 1.5)
      assert.strictEqual(row.runs, 9)
      assert.deepStrictEqual([row.comparison.median, row.met], [1.5, true])
    }))

  it.effect("ends after nine runs that differ if they have used up the time", () =>
    Effect.gen(function*() {
      const row = yield* measured(21, (run) => run % 2 === 0 ? 1 : 3).pipe(Effect.provideService(TimeBudget, -1))
      assert.strictEqual(row.runs, 9)
    }))

  it.effect("takes no more runs than asked for", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* measured(3, () => 1.5)).runs, 3)
    }))
})
