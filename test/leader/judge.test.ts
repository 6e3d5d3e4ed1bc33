import { assert, describe, it } from "@effect/vitest"
import type { JournalEntry } from "../../src/testing/SimulatedLeaseStore.ts"
import { judge, type Record, type Tenure } from "./judge.ts"
import { calm } from "./scenario.ts"

const granted = (at: number, host: string, fencingToken: bigint): JournalEntry => ({
  at,
  what: "granted",
  host,
  lease: "x",
  fencingToken
})
const led = (host: string, fencingToken: bigint, from: number, to?: number): Tenure => ({
  host,
  fencingToken,
  from,
  to,
  pauses: []
})

const record: Record = {
  scenario: calm,
  journal: [granted(10, "0", 1n), granted(100, "1", 2n)],
  writes: [],
  tenures: [led("0", 1n, 11, 99), led("1", 2n, 101)],
  losses: [],
  crashes: [],
  faults: []
}
const of = (change: Partial<Record>) => judge({ ...record, ...change })

describe("the judge of elections", () => {
  it("accepts leaders one after the other", () => {
    assert.deepStrictEqual(judge(record), [])
  })

  it("accuses a leader that acts after the next grant, unless its process was paused then", () => {
    assert.lengthOf(of({ tenures: [led("0", 1n, 11, 102), led("1", 2n, 101)] }), 1)
    const pauses = [{ from: 50, to: 90, stopsClock: false }]
    assert.deepStrictEqual(of({ tenures: [{ ...led("0", 1n, 11, 102), pauses }, led("1", 2n, 101)] }), [])
    // A leader that goes on for long after a pause has not stopped by itself.
    assert.lengthOf(of({ tenures: [{ ...led("0", 1n, 11, 60_000), pauses }, led("1", 2n, 101)] }), 1)
  })

  it("accuses no leader whose clock stood still, and to which a failover gave the lease back", () => {
    const tenures = [
      { ...led("0", 1n, 11, 60_000), pauses: [{ from: 50, to: 200, stopsClock: true }] },
      led("1", 2n, 101, 400)
    ]
    const entry = (at: number, what: JournalEntry["what"], fencingToken = 1n): JournalEntry => ({
      ...granted(at, "0", fencingToken),
      what
    })
    const journal = [...record.journal, entry(210, "failover"), entry(220, "renewed")]
    assert.deepStrictEqual(of({ tenures, journal }), [])
    assert.lengthOf(of({ tenures }), 1)
    assert.lengthOf(of({ tenures, journal: journal.slice(0, -1) }), 1)
    assert.lengthOf(of({ tenures, journal: [...record.journal, entry(220, "renewed")] }), 1)
    const [paused, other] = tenures
    const awake = tenures.map((tenure) => tenure === other ? other : { ...paused, ...led("0", 1n, 11, 60_000) })
    assert.lengthOf(of({ tenures: awake, journal }), 1)
  })

  it("accuses no leader of a grant before its own, whose answer came late to a paused process", () => {
    const pauses = [{ from: 50, to: 120, stopsClock: true }]
    const tenures = [led("1", 2n, 101), { ...led("0", 1n, 121, 122), pauses }]
    assert.deepStrictEqual(of({ tenures }), [])
  })

  it("accuses tokens that fall or come twice, and resources that accept or refuse the wrong one", () => {
    assert.lengthOf(of({ journal: [granted(10, "0", 2n), granted(100, "1", 2n)] }), 1)
    assert.include(of({ tenures: [led("0", 1n, 11, 99), led("1", 1n, 101)] }), "two leaders have the same token")
    const write = (fencingToken: bigint, isAccepted: boolean) => ({ at: 1, fencingToken, isAccepted })
    assert.deepStrictEqual(of({ writes: [write(1n, true), write(1n, true), write(2n, true), write(1n, false)] }), [])
    assert.lengthOf(of({ writes: [write(2n, true), write(1n, true)] }), 1)
    assert.lengthOf(of({ writes: [write(1n, true), write(1n, false)] }), 1)
  })

  it("accuses a late takeover and a loss without a fault", () => {
    assert.deepStrictEqual(of({ crashes: [99] }), [])
    assert.lengthOf(of({ crashes: [101] }), 1)
    assert.deepStrictEqual(of({ crashes: [101], faults: [{ host: "1", from: 90, to: 95 }] }), [])
    const losses = [{ host: "0", at: 99, error: "" }]
    assert.lengthOf(of({ losses }), 1)
    assert.deepStrictEqual(of({ losses, faults: [{ host: "0", from: 50, to: 60 }] }), [])
    assert.lengthOf(of({ losses, faults: [{ host: "1", from: 50, to: 60 }] }), 1)
  })
})
