import { assert, describe, it } from "@effect/vitest"
import { Duration, FastCheck as fc, Option } from "effect"
import type { Grant } from "../../src/leader/LeaseStore.ts"
import { defaults } from "../../src/leader/LeaseTimes.ts"
import * as Term from "../../src/leader/Term.ts"
import "../arbitraries.ts"

const grant: Grant = { name: "x", holderId: "a", fencingToken: 1n }
const seconds = (count: number): bigint => BigInt(Math.round(count * 1e9))
const deadline = seconds(10)
const begun = (sentAt = 0n) => Option.getOrThrow(Term.begin(defaults, grant, { sentAt, receivedAt: sentAt + 1n }))

const moment = fc.oneof(
  fc.bigInt({ min: 0n, max: 40_000_000_000n }),
  fc.constantFrom(deadline - 1n, deadline, deadline + 1n)
)

describe("a term", () => {
  it("is measured from the sending, and a grant that is answered later is none", () => {
    fc.assert(fc.property(moment, moment, (sentAt, delay) => {
      const term = Term.begin(defaults, grant, { sentAt, receivedAt: sentAt + delay })
      assert.strictEqual(Option.isSome(term), delay < deadline)
      for (const { trustedUntil } of Option.toArray(term)) assert.strictEqual(trustedUntil, sentAt + deadline)
    }))
  })

  it("is neither renewed nor prolonged by a statement that was sent or answered at the deadline or later", () => {
    fc.assert(fc.property(moment, moment, (sentAt, delay) => {
      const term = begun()
      const receivedAt = sentAt + delay
      const renewed = Term.renew(defaults, term, { sentAt, receivedAt })
      assert.strictEqual(Option.isSome(renewed), receivedAt < deadline)
      for (const after of Option.toArray(renewed)) {
        assert.deepStrictEqual(after, { grant, renewedAt: sentAt, trustedUntil: sentAt + deadline })
      }
    }))
  })

  it("ends exactly at its deadline", () => {
    assert.isTrue(Term.isTrusted(begun(), deadline - 1n))
    assert.isFalse(Term.isTrusted(begun(), deadline))
  })

  it("is renewed at the interval, and after a failure once that attempt would have timed out", () => {
    const term = begun(seconds(5))
    assert.strictEqual(Term.nextRenewalAt(defaults, term, seconds(5)), seconds(8))
    assert.strictEqual(Term.nextRenewalAt(defaults, term, seconds(8)), seconds(10))
  })

  it("leaves the whole stop timeout after a loss in time, and no more than that after the deadline", () => {
    fc.assert(fc.property(moment, (lostAt) => {
      const cut = Term.cutAt(defaults, begun(), lostAt)
      assert.strictEqual(cut, (lostAt < deadline ? lostAt : deadline) + Duration.unsafeToNanos(defaults.stopTimeout))
    }))
  })
})
