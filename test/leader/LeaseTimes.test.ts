import { assert, describe, it } from "@effect/vitest"
import { Duration, Either, FastCheck as fc } from "effect"
import * as LeaseTimes from "../../src/leader/LeaseTimes.ts"
import "../arbitraries.ts"

const problemsOf = (options: LeaseTimes.LeaseTimesOptions) =>
  Either.match(LeaseTimes.fromOptions(options), { onLeft: (lines) => lines, onRight: () => [] })

const millis = fc.integer({ min: 1, max: 120_000 })
const options = fc.record({
  duration: millis,
  renewInterval: millis,
  attemptTimeout: millis,
  renewDeadline: millis,
  stopTimeout: millis
})

describe("the times of a lease", () => {
  it("are valid by default", () => {
    assert.deepStrictEqual(LeaseTimes.problems(LeaseTimes.defaults), [])
    assert.deepStrictEqual(Either.getOrThrow(LeaseTimes.fromOptions()), LeaseTimes.defaults)
  })

  it("are refused with the relation, the numbers and what is allowed", () => {
    assert.deepStrictEqual(problemsOf({ duration: "14 seconds" }), [
      "lease.renewDeadline + lease.stopTimeout + 300ms is 10s + 4s + 300ms = 14s300ms: "
      + "expected at most 99 % of lease.duration (14s), which is 13s860ms"
    ])
    assert.deepStrictEqual(problemsOf({ renewInterval: "6001 millis" }), [
      "lease.renewInterval + 2 * lease.attemptTimeout is 6s1ms + 2 * 2s = 10s1ms: "
      + "expected at most lease.renewDeadline (10s)"
    ])
    assert.lengthOf(problemsOf({ duration: 5000, renewInterval: 9000 }), 2)
  })

  it("are refused one by one if they are no times at all", () => {
    assert.deepStrictEqual(problemsOf({ duration: Duration.infinity, stopTimeout: 0 }), [
      "lease.duration is Infinity: expected a time of at least 1ms",
      "lease.stopTimeout is 0s: expected a time of at least 1ms"
    ])
    assert.lengthOf(problemsOf({ attemptTimeout: -5 }), 1)
  })

  it("may meet both relations exactly", () => {
    // 99 % of 10 s are 9.9 s, which is 6 s + 3.6 s + 0.3 s.
    const exact = {
      duration: 10_000,
      renewDeadline: 6000,
      stopTimeout: 3600,
      renewInterval: 2000,
      attemptTimeout: 2000
    }
    assert.deepStrictEqual(problemsOf(exact), [])
    assert.lengthOf(problemsOf({ ...exact, stopTimeout: 3601 }), 1)
    assert.lengthOf(problemsOf({ ...exact, renewInterval: 2001 }), 1)
  })

  it("that are valid let a leader stop before the fastest candidate has waited, and renew after a lost answer", () => {
    fc.assert(
      fc.property(options, (options) => {
        const found = problemsOf(options)
        // In whole numbers, so that this judge does not round as the code does.
        const stops = 100 * (options.renewDeadline + options.stopTimeout + 300) <= 99 * options.duration
        const renews = options.renewInterval + 2 * options.attemptTimeout <= options.renewDeadline
        assert.lengthOf(found, (stops ? 0 : 1) + (renews ? 0 : 1))
        for (const line of found) assert.match(line, /^lease\.\w+ .* is .* = .*: expected at most .*lease\.\w+.*$/)
      }),
      { numRuns: 2000 }
    )
  })

  it("bound a takeover after a crash", () => {
    assert.isTrue(Duration.equals(LeaseTimes.takeoverBound(LeaseTimes.defaults), Duration.seconds(20)))
  })
})
