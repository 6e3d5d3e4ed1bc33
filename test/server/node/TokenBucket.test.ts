import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc, Option } from "effect"
import * as TokenBucket from "../../../src/server/node/TokenBucket.ts"
import "../../arbitraries.ts"

const second = 1_000_000_000n

describe("a bucket", () => {
  it("gives two seconds' worth at once, then so many in a second", () => {
    let bucket = TokenBucket.make(10, 0n)
    const drain = (now: bigint) => {
      for (let taken = 0;; taken++) {
        const next = TokenBucket.take(bucket, 10, now)
        if (Option.isNone(next)) return taken
        bucket = next.value
      }
    }
    assert.deepStrictEqual([0n, 0n, second, second / 2n * 3n, 100n * second].map(drain), [20, 0, 10, 5, 20])
  })

  it.prop("never gives more than the burst and the rate, whatever the times", [
    fc.integer({ min: 1, max: 1000 }),
    fc.array(fc.integer({ min: 0, max: 500_000_000 }), { maxLength: 200 })
  ], ([rate, pauses]) => {
    let bucket = TokenBucket.make(rate, 0n)
    let now = 0n
    let taken = 0
    for (const pause of pauses) {
      now += BigInt(pause)
      const next = TokenBucket.take(bucket, rate, now)
      if (Option.isSome(next)) {
        taken += 1
        bucket = next.value
      }
    }
    return taken <= rate * TokenBucket.burstSeconds + rate * Number(now) / 1e9 + 1e-6
  })

  it("is not filled by a clock that goes back", () => {
    const empty = { left: 0, at: 10n * second }
    assert.deepStrictEqual(TokenBucket.take(empty, 10, 0n), Option.none())
  })
})
