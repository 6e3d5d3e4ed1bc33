/**
 * The profile of a refused start, on the built program.
 */
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { sampleRefused } from "./profile.ts"

describe("the phases of a refused start", () => {
  it.scopedLive("add up to the whole, and none ends before it begins", () =>
    Effect.gen(function*() {
      const samples = yield* sampleRefused(2)
      assert.strictEqual(samples.length, 2)
      for (const { node, times, unmarked, whole } of samples) {
        // The clock of the marks is that of the measured whole: otherwise the first or the last phase would be negative.
        assert.isTrue(times.every((time) => time >= 0), times.join())
        const [itself = 0, read = 0, evaluated = 0, before = 0, after = 0, exit = 0] = times
        assert.isTrue([itself, read, evaluated, before, after, exit].every((time) => time > 0.1), times.join())
        assert.closeTo(times.reduce((sum, time) => sum + time, 0), whole, 0.01)
        assert.isTrue(node > 0 && unmarked > 0)
      }
    }).pipe(Effect.provide(NodeContext.layer)))
})
