/**
 * Plays drawn elections on simulated hosts. Also shows that the judge finds each mistake in `mutants.ts`, by a scenario in which the
 * unchanged sources break no rule.
 */
import { assert, describe, it } from "@effect/vitest"
import { Config, Effect, Option } from "effect"
import { loadLeader } from "virtual:mutants"
import { numRuns } from "../arbitraries.ts"
import { unchanged } from "../simulation/mutants.ts"
import { leaderMutants } from "./mutants.ts"
import { prove } from "./prove.ts"
import { calm, type Scenario, type Service } from "./scenario.ts"
import { simulate } from "./simulate.ts"
import * as Original from "./subject.ts"

const subjectOf = (name: string) =>
  Effect.promise(() => loadLeader[name]?.() ?? Promise.reject(new Error(`no mutant ${name}`)))

const of = (change: Partial<Scenario>): Scenario => ({ ...calm, ...change })

/** Changes the service of one host. */
const with_ = (host: number, change: Partial<Service>): ReadonlyArray<Service> =>
  calm.services.map((service) => service.host === host ? { ...service, ...change } : service)

const leaderEnds = { at: 20_000, what: { _tag: "Interrupt", victim: "leader" } } as const
const leaderCrashes = { at: 16_000, what: { _tag: "Kill", victim: "leader" } } as const
const losesGrant = (at: number) => ({ at, what: { _tag: "Failover", loses: "grant" } }) as const
const cutOff = (at: number, millis: number) =>
  ({ at, what: { _tag: "Cut", host: 0, way: "requests", millis } }) as const

/** The scenario that shows the mistake of each mutant. Without another event, host 0 leads; see `calm`. */
const shownBy: Readonly<Record<typeof leaderMutants[number]["name"], Scenario>> = {
  // The renewal of 15 s is answered 1.9 s later, and the next ones are lost. Host 1 has seen it at 15.1 s.
  "the deadline is counted from the receipt": of({
    faults: [{ host: 0, name: "renew", nth: 1, fate: { answerDelay: 1900 } }],
    events: [cutOff(15_050, 20_000)]
  }),
  // The leader is stopped until another host leads, and a failover loses that grant. Then its renewal would succeed, and the timer
  // that ends its leadership is late.
  "a leader renews and accepts renewals after its deadline": of({
    order: 118,
    lateness: 280,
    events: [
      { at: 16_000, what: { _tag: "Freeze", victim: "leader", millis: 9500 } },
      losesGrant(24_900)
    ]
  }),
  // The clock of host 0 is set back, and its renewals are lost from then on.
  "time is that of the wall clock": of({
    events: [
      cutOff(16_050, 20_000),
      { at: 16_100, what: { _tag: "StepWallClock", host: 0, millis: -3_600_000 } }
    ]
  }),
  "a resource refuses a token that it has seen": of({}),
  "the token is kept when the lease is acquired again": of({ events: [leaderEnds] }),
  // Host 0 releases. Host 1 is granted the next number, and a failover loses that. Then the same number is granted again.
  "a token is a plain counter": of({ events: [leaderEnds, losesGrant(22_000)] }),
  "a fenced write checks the token without a lock on the row": of({
    services: with_(0, { writeTakes: 12_000 }),
    events: [leaderCrashes, cutOff(16_001, 20_000)]
  }),
  "a takeover does not wait for fenced writes, as without a unique key": of({
    services: with_(0, { writeTakes: 12_000 }),
    events: [leaderCrashes, cutOff(16_001, 20_000)]
  }),
  // Hosts 1 and 2 see the release. The attempt of host 2 arrives after host 1 was granted the lease and a failover has lost that.
  "the epoch is not compared when the lease is acquired": of({
    hints: true,
    faults: [{ host: 2, name: "acquire", nth: 2, fate: { requestDelay: 1500 } }],
    events: [leaderEnds, losesGrant(21_500)]
  }),
  // The renewals of host 0 are lost until one arrives late, after the last look of host 1 and before its attempt.
  "renewals are not compared when the lease is acquired": of({
    faults: [
      { host: 0, name: "renew", nth: 2, fate: { outcome: "request lost" } },
      { host: 0, name: "renew", nth: 3, fate: { requestDelay: 1500 } }
    ]
  }),
  // Host 1 acquires the released lease, and a failover loses that grant. Host 2 sees the release before host 1 has stopped.
  "a released lease is acquired at once in any epoch": of({ events: [leaderEnds, losesGrant(22_300)] }),
  // The leader crashes, and starts again without a way to the store. Host 1 leads, and a failover loses that grant.
  "a proof of death counts in any epoch": of({
    events: [leaderCrashes, cutOff(16_000, 8900), losesGrant(24_500)]
  }),
  // A second service of host 0 finds no lock file, and locks a new one while the leader still runs.
  "the same folder proves the death of the former holder": of({
    services: [...calm.services, { host: 0, at: 20_000, stopTakes: 0, writeTakes: 0 }],
    events: [{ at: 19_000, what: { _tag: "ReplaceLocks", host: 0 } }]
  }),
  // The leader cannot notice that the lease is deleted. Host 1 creates it again, and must wait.
  "a created lease names its creator as the holder": of({
    events: [cutOff(19_900, 10_000), { at: 20_000, what: { _tag: "Remove" } }]
  }),
  "a change does not start the wait again": of({ latency: 20 }),
  // The look of host 1 at 16.3 s reaches the store at 18.1 s, after the last renewal.
  "the wait is counted from the sending of the first look": of({
    services: with_(1, { at: 4300 }),
    faults: [{ host: 1, name: "look", nth: 4, fate: { requestDelay: 1800 } }],
    events: [cutOff(18_050, 20_000)]
  }),
  "a lease is released before the work has ended": of({ hints: true, events: [leaderEnds] })
}

describe("an election among hosts", () => {
  it.effect("keeps every rule in drawn schedules", () =>
    Effect.gen(function*() {
      // The same schedules in each run, unless the variables replay a failure. `npm run test:soak -- --lease` plays others.
      const seed = yield* Config.withDefault(Config.integer("GATEWAY_SIMULATION_SEED"), 20261130)
      const path = Option.getOrUndefined(yield* Config.option(Config.string("GATEWAY_SIMULATION_PATH")))
      assert.isUndefined(yield* prove(Original, { runs: numRuns, seed, path, shrinks: true }))
    }), 600_000)

  // The transactions of one leader overlap for 26 s, so the lease is removed 6 s before the schedule would end.
  it.effect("has a leader again after a removal that waited for fenced writes", () =>
    Effect.gen(function*() {
      const service = (host: number, at: number, writeTakes: number) => ({ host, at, stopTakes: 0, writeTakes })
      const scenario = of({
        order: 133_182_166,
        rates: [1, 0.997, 1.001],
        latency: 306,
        lateness: 280,
        services: [service(0, 2269, 1890), service(1, 2989, 3121), service(2, 4254, 1790)],
        events: [
          { at: 12_405, what: { _tag: "Failover", loses: 1 } },
          { at: 24_871, what: { _tag: "Remove" } }
        ]
      })
      assert.deepStrictEqual(yield* simulate(Original, scenario), [])
    }))

  it.effect(
    "keeps every rule in the schedules that show mistakes, also if it is loaded as the mutants are",
    () =>
      Effect.gen(function*() {
        const subject = yield* subjectOf(unchanged)
        assert.notStrictEqual(subject.Leadership, Original.Leadership)
        for (const [name, scenario] of Object.entries(shownBy)) {
          assert.deepStrictEqual(yield* simulate(subject, scenario), [], name)
        }
      }),
    120_000
  )
})

describe("a mistake in an election is found:", () => {
  for (const { name } of leaderMutants) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const broken = yield* simulate(yield* subjectOf(name), shownBy[name])
        assert.isNotEmpty(broken)
      }), 120_000)
  }
})
