/**
 * The measurements of growth, at small points.
 */
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Crowds from "./scale/crowds.ts"
import * as Lists from "./scale/lists.ts"

describe("the growth", () => {
  it.scopedLive("of `list`: each point finds all gateways, those of the point before included", () =>
    Effect.gen(function*() {
      const rows = yield* Lists.measure([1, 3])
      assert.deepStrictEqual(rows.map(({ count }) => count), [1, 3])
      assert.isTrue(rows.every(({ baseline, time }) => baseline > 0 && time > baseline))
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scopedLive("of simultaneous starts: one of them serves", () =>
    Effect.gen(function*() {
      const [row] = yield* Crowds.measure([[3, 1]])
      if (row === undefined) return assert.fail("no row")
      assert.strictEqual(row.size, 3)
      assert.isTrue(row.total >= row.slowest && row.slowest > 0)
    }).pipe(Effect.provide(NodeContext.layer)))
})
