import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import * as FencingToken from "../../src/leader/FencingToken.ts"
import "../arbitraries.ts"

/** What happens to a store between two grants. */
type Event = "grant" | "failover that loses the last grants" | "upgrade"

describe("a fencing token", () => {
  it("is higher than the previous one, and of the present epoch unless the previous one is of a later epoch", () => {
    fc.assert(fc.property(fc.bigInt(0n, 2n ** 62n), fc.bigInt(0n, 2n ** 21n), (previous, epoch) => {
      const token = FencingToken.next(previous, epoch)
      assert.isTrue(token > previous)
      assert.isTrue(FencingToken.epochOf(token) >= epoch)
      if (FencingToken.epochOf(previous) < epoch) assert.strictEqual(FencingToken.epochOf(token), epoch)
    }))
  })

  it("never comes twice and never falls, whatever grants a failover loses and however timelines begin anew", () => {
    const event = fc.constantFrom<Event>("grant", "failover that loses the last grants", "upgrade")
    fc.assert(fc.property(fc.array(fc.tuple(event, fc.nat(4)), { maxLength: 40 }), (events) => {
      // The state of a store: the tokens that it has stored, the last one last, the base and the timeline.
      let stored = [0n]
      let base = 0n
      let timeline = 1n
      const granted: Array<bigint> = []
      for (const [what, count] of events) {
        const last = stored.at(-1) ?? 0n
        if (what === "grant") {
          const token = FencingToken.next(last, base + timeline)
          stored.push(token)
          granted.push(token)
        } else if (what === "upgrade") {
          // An upgrade that comes before the first grant after a failover is a documented limit.
          if (FencingToken.epochOf(last) !== base + timeline) continue
          base = FencingToken.rebase(last)
          timeline = 1n
        } else {
          stored = stored.slice(0, Math.max(1, stored.length - count))
          timeline += 1n
        }
      }
      assert.deepStrictEqual(granted, granted.toSorted((one, other) => one < other ? -1 : 1))
      assert.lengthOf(new Set(granted), granted.length)
    }))
  })

  it("fits into a bigint column of PostgreSQL for millions of failovers", () => {
    assert.isTrue(FencingToken.next(0n, 8_000_000n) < 2n ** 63n)
  })

  it("is accepted again from the same leader, and refused from a former one", () => {
    assert.isTrue(FencingToken.isAccepted(7n, 7n))
    assert.isTrue(FencingToken.isAccepted(8n, 7n))
    assert.isFalse(FencingToken.isAccepted(6n, 7n))
  })
})
