import { assert, describe, it } from "@effect/vitest"
import { DateTime, Duration, FastCheck as fc, Option } from "effect"
import type * as OwnerRecord from "../../src/lock/OwnerRecord.ts"
import { decide, type Evidence, type Verdict } from "../../src/lock/Staleness.ts"
import * as arbitraries from "../arbitraries.ts"

const staleAfter = Duration.seconds(30)
const young = Duration.seconds(1)
const old = Duration.seconds(31)

const record = (phase: OwnerRecord.Phase): Option.Option<OwnerRecord.OwnerRecord> =>
  Option.some({
    version: 1,
    instanceId: "0b5e0e1c-5c1c-4d39-8c4b-0b3a1f8a7d10",
    pid: 123,
    createdAt: Option.some(DateTime.unsafeMake("2026-01-01T00:00:00.000Z")),
    configPath: "/c",
    stateDir: "/s",
    host: "127.0.0.1",
    port: 18789,
    phase,
    supervisor: "none"
  })

const evidence = (change: Partial<Evidence>): Evidence => ({
  record: record("listening"),
  namesThisProcess: false,
  owner: "Alive",
  portInUse: false,
  sameNetwork: true,
  age: young,
  silentFor: Duration.zero,
  staleAfter,
  ...change
})

const show = (verdict: Verdict) => `${verdict._tag}(${verdict.reason})`

const anyEvidence: fc.Arbitrary<Evidence> = fc.record({
  record: fc.option(arbitraries.ownerRecord).map(Option.fromNullable),
  namesThisProcess: fc.boolean(),
  owner: arbitraries.liveness,
  portInUse: fc.boolean(),
  sameNetwork: fc.boolean(),
  age: arbitraries.duration,
  silentFor: arbitraries.duration,
  staleAfter: fc.oneof(fc.constant(staleAfter), arbitraries.duration)
})
const readable = anyEvidence.filter(({ record }) => Option.isSome(record))

const reclaims = (given: Evidence) => decide(given)._tag === "Reclaim"

describe("Staleness.decide", () => {
  const unreadable = { record: Option.none<OwnerRecord.OwnerRecord>(), owner: "Unknown" as const }
  const table: ReadonlyArray<readonly [given: string, evidence: Evidence, verdict: string]> = [
    ["names this very process", evidence({ namesThisProcess: true }), "Reclaim(names this process)"],
    [
      "names this very process, young, its port in use",
      evidence({ namesThisProcess: true, portInUse: true, record: record("starting") }),
      "Reclaim(names this process)"
    ],
    ["unreadable and old", evidence({ ...unreadable, age: old }), "Reclaim(no readable owner)"],
    [
      "unreadable, old, port in use",
      evidence({ ...unreadable, age: old, portInUse: true }),
      "Reclaim(no readable owner)"
    ],
    ["unreadable and young", evidence(unreadable), "Wait(record being written)"],
    ["unreadable, exactly staleAfter old", evidence({ ...unreadable, age: staleAfter }), "Wait(record being written)"],
    ["owner gone, port free", evidence({ owner: "Gone" }), "Reclaim(owner gone)"],
    ["owner gone, port in use", evidence({ owner: "Gone", portInUse: true }), "Reclaim(owner gone)"],
    ["owner gone, was starting", evidence({ owner: "Gone", record: record("starting") }), "Reclaim(owner gone)"],
    ["owner unknown, port free, young", evidence({ owner: "Unknown" }), "Wait(owner unknown)"],
    [
      "owner unknown, port free, exactly staleAfter old",
      evidence({ owner: "Unknown", age: staleAfter }),
      "Wait(owner unknown)"
    ],
    ["owner unknown, port free, old", evidence({ owner: "Unknown", age: old }), "Reclaim(port free)"],
    ["owner unknown, port in use", evidence({ owner: "Unknown", portInUse: true }), "Wait(owner unknown, port in use)"],
    [
      "owner unknown, port in use, old",
      evidence({ owner: "Unknown", portInUse: true, age: Duration.days(365) }),
      "Wait(owner unknown, port in use)"
    ],
    [
      "owner alive, listening, port free and seen so for staleAfter",
      evidence({ silentFor: staleAfter }),
      "Reclaim(port free)"
    ],
    [
      "owner alive, listening, port free and seen so for less",
      evidence({ silentFor: Duration.millis(29_999), age: old }),
      "Wait(owner alive)"
    ],
    [
      "owner alive, listening, port free here, and the owner perhaps in another network",
      evidence({ sameNetwork: false, silentFor: Duration.days(365), age: old }),
      "Wait(owner alive)"
    ],
    [
      "owner alive, listening, port in use",
      evidence({ portInUse: true, silentFor: old, age: old }),
      "Wait(owner alive)"
    ],
    [
      "owner alive, starting, port free",
      evidence({ record: record("starting"), silentFor: old, age: old }),
      "Wait(owner alive)"
    ],
    [
      "owner alive, draining, port free",
      evidence({ record: record("draining"), silentFor: old, age: old }),
      "Wait(owner alive)"
    ]
  ]

  it.each(table)("%s", (_, given, verdict) => {
    assert.strictEqual(show(decide(given)), verdict)
  })

  it.prop(
    "gives a verdict on everything",
    [anyEvidence],
    ([given]) => /^(Reclaim|Wait)\(.+\)$/.test(show(decide(given)))
  )

  it.prop(
    "never takes a young file that cannot be read: it may be being written",
    [anyEvidence],
    ([given]) => !reclaims({ ...given, record: Option.none(), age: Duration.min(given.age, given.staleAfter) })
  )

  it.prop(
    "never takes from an unknown owner while its port is in use",
    [readable],
    ([given]) => !reclaims({ ...given, namesThisProcess: false, owner: "Unknown", portInUse: true })
  )

  it.prop("takes from a living owner only what it has listened on paper for, in silence, for staleAfter", [
    readable.map((given) => ({ ...given, namesThisProcess: false, owner: "Alive" as const }))
  ], ([given]) =>
    reclaims(given) === (!given.portInUse
      && given.sameNetwork
      && Option.exists(given.record, ({ phase, ready }) => phase === "listening" && ready === undefined)
      && Duration.greaterThanOrEqualTo(given.silentFor, given.staleAfter)))

  it.prop("a free port alone is never proof of death", [
    readable.map((given) => ({
      ...given,
      namesThisProcess: false,
      portInUse: false,
      silentFor: Duration.zero,
      age: Duration.min(given.age, given.staleAfter),
      staleAfter: Duration.max(given.staleAfter, Duration.millis(1))
    })),
    fc.constantFrom("Alive" as const, "Unknown" as const)
  ], ([given, owner]) => !reclaims({ ...given, owner, age: Duration.min(given.age, given.staleAfter) }))

  it.prop(
    "an owner that is gone is succeeded at once, whatever its port and age",
    [readable],
    ([given]) => reclaims({ ...given, owner: "Gone" })
  )

  it.prop(
    "what may be taken now may be taken later",
    [anyEvidence, arbitraries.duration],
    ([given, later]) => !reclaims(given) || reclaims({ ...given, age: Duration.sum(given.age, later) })
  )

  it.prop("what may be taken after some silence may be taken after more", [anyEvidence, arbitraries.duration], ([
    given,
    later
  ]) => !reclaims(given) || reclaims({ ...given, silentFor: Duration.sum(given.silentFor, later) }))

  it.prop(
    "a port that comes into use never makes a lock free",
    [anyEvidence],
    ([given]) => reclaims({ ...given, portInUse: false }) || !reclaims({ ...given, portInUse: true })
  )
})
