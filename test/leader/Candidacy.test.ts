import { assert, describe, it } from "@effect/vitest"
import { Duration, FastCheck as fc, Option } from "effect"
import * as Candidacy from "../../src/leader/Candidacy.ts"
import * as FencingToken from "../../src/leader/FencingToken.ts"
import type { Sighting } from "../../src/leader/LeaseStore.ts"
import "../arbitraries.ts"

const seen: Sighting = {
  holderId: Option.some("a"),
  fencingToken: FencingToken.next(0n, 1n),
  renewals: 3n,
  ttl: Duration.seconds(15),
  epoch: 1n,
  holder: {}
}
const ttl = Duration.unsafeToNanos(seen.ttl)

const changes: ReadonlyArray<readonly [what: string, change: Partial<Sighting>]> = [
  ["a release", { holderId: Option.none() }],
  ["another holder", { holderId: Option.some("b") }],
  ["another token", { fencingToken: seen.fencingToken + 1n }],
  ["a renewal", { renewals: 4n }],
  ["renewals that a failover lost", { renewals: 2n }],
  ["another duration", { ttl: Duration.seconds(16) }],
  ["a failover", { epoch: 2n }]
]

const sighting: fc.Arbitrary<Sighting> = fc.record({
  holderId: fc.constantFrom(Option.none(), Option.some("a"), Option.some("b")),
  fencingToken: fc.tuple(fc.bigInt(1n, 3n), fc.bigInt(1n, 3n)).map(([epoch, count]) =>
    FencingToken.floorOf(epoch) + count
  ),
  renewals: fc.bigInt(0n, 3n),
  ttl: fc.constantFrom(Duration.seconds(15), Duration.seconds(30)),
  epoch: fc.bigInt(1n, 3n),
  holder: fc.constant({})
})

describe("a candidate", () => {
  it("waits from the receipt of its first look, for the whole time that the lease names", () => {
    const first = Candidacy.observe(Option.none(), seen, 5n)
    const second = Candidacy.observe(Option.some(first), { ...seen, holder: { pid: 7 } }, 900n)
    assert.strictEqual(second.since, 5n)
    assert.strictEqual(Candidacy.mayAcquireAt(second, false), 5n + ttl)
  })

  it.each(changes)("begins to wait again after %s", (_, change) => {
    const first = Candidacy.observe(Option.none(), seen, 5n)
    const second = Candidacy.observe(Option.some(first), { ...seen, ...change }, 900n)
    assert.strictEqual(second.since, 900n)
  })

  it("may acquire at once only a lease of the present epoch that was released, or whose holder is proved dead", () => {
    fc.assert(fc.property(sighting, fc.boolean(), (sighting, isHolderDead) => {
      const watch = Candidacy.observe(Option.none(), sighting, 7n)
      const hasEnded = sighting.holderId._tag === "None" || isHolderDead
      const expected = hasEnded && sighting.fencingToken >> 40n === sighting.epoch
        ? 7n
        : 7n + Duration.unsafeToNanos(sighting.ttl)
      assert.strictEqual(Candidacy.mayAcquireAt(watch, isHolderDead), expected)
    }))
  })

  it("has waited for the time of the last change, whatever it has seen before", () => {
    fc.assert(fc.property(fc.array(fc.tuple(sighting, fc.bigInt(1n, 10n ** 10n)), { minLength: 1 }), (looks) => {
      let now = 0n
      let since = 0n
      let last: Sighting | undefined
      let watch = Option.none<Candidacy.Watch>()
      for (const [sighting, pause] of looks) {
        now += pause
        if (last === undefined || !Candidacy.isSame(last, sighting)) since = now
        last = sighting
        watch = Option.some(Candidacy.observe(watch, sighting, now))
      }
      assert.strictEqual(Option.getOrThrow(watch).since, since)
    }))
  })
})
