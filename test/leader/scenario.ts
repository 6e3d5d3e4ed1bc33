/**
 * Scenarios of an election among hosts, and the arbitrary that draws them. All times are in milliseconds.
 */
import { FastCheck as fc } from "effect"
import type { Fate, Statement } from "../../src/testing/SimulatedLeaseStore.ts"

/** The times of all leases. They fit together, and are shorter than by default, so that a scenario takes fewer statements. */
export const times = {
  duration: 9000,
  renewInterval: 3000,
  attemptTimeout: 2000,
  renewDeadline: 7000,
  stopTimeout: 1000
} as const

/** A service that a supervisor starts, and starts again after a failure. */
export interface Service {
  readonly host: number
  readonly at: number
  /** How long its work takes to stop. Not longer than `stopTimeout`. */
  readonly stopTakes: number
  /** How long its fenced transactions last. */
  readonly writeTakes: number
}

/** Which process an event concerns: the present leader, or a process by its number. */
export type Victim = "leader" | number

export type Happening =
  | { readonly _tag: "Kill"; readonly victim: Victim }
  | { readonly _tag: "Interrupt"; readonly victim: Victim }
  | { readonly _tag: "Freeze"; readonly victim: Victim; readonly millis: number }
  | { readonly _tag: "PauseHost"; readonly host: number; readonly millis: number }
  | { readonly _tag: "StepWallClock"; readonly host: number; readonly millis: number }
  | {
    readonly _tag: "Cut"
    readonly host: number
    readonly way: "requests" | "answers" | "both"
    readonly millis: number
  }
  | { readonly _tag: "Down"; readonly millis: number }
  | { readonly _tag: "Failover"; readonly loses: number | "grant" | "release" }
  | { readonly _tag: "Upgrade" }
  | { readonly _tag: "Remove" }
  /** The lock files of a host are removed, and the next start makes new ones. */
  | { readonly _tag: "ReplaceLocks"; readonly host: number }
  | { readonly _tag: "Resign" }

/** What happens to one statement. `nth` counts the statements of a host with this name, from 1. */
export interface Fault {
  readonly host: number
  readonly name: Statement["name"]
  readonly nth: number
  readonly fate: Fate
}

export interface Scenario {
  /** Decides the order of what happens at one time, the delays of messages, and how late timers run. */
  readonly order: number
  /** The speed of the clock of each host. */
  readonly rates: ReadonlyArray<number>
  /** The longest delay of a message that is no fault. */
  readonly latency: number
  /** How late a timer runs at most. */
  readonly lateness: number
  readonly hints: boolean
  readonly services: ReadonlyArray<Service>
  readonly faults: ReadonlyArray<Fault>
  readonly events: ReadonlyArray<{ readonly at: number; readonly what: Happening }>
}

/** By when all events have begun. */
const lastEvent = 30_000

const hosts = 3
const host = fc.nat({ max: hosts - 1 })
const victim: fc.Arbitrary<Victim> = fc.oneof(
  { weight: 3, arbitrary: fc.constant("leader" as const) },
  fc.nat({ max: 5 })
)
const short = fc.integer({ min: 1, max: 4000 })
const long = fc.integer({ min: 1000, max: 15_000 })

const happening: fc.Arbitrary<Happening> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ _tag: fc.constant("Kill" as const), victim }) },
  { weight: 2, arbitrary: fc.record({ _tag: fc.constant("Interrupt" as const), victim }) },
  { weight: 3, arbitrary: fc.record({ _tag: fc.constant("Freeze" as const), victim, millis: long }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("PauseHost" as const), host, millis: long }) },
  {
    weight: 1,
    arbitrary: fc.record({
      _tag: fc.constant("StepWallClock" as const),
      host,
      millis: fc.constantFrom(-3_600_000, 3_600_000)
    })
  },
  {
    weight: 5,
    arbitrary: fc.record({
      _tag: fc.constant("Cut" as const),
      host,
      way: fc.constantFrom("requests" as const, "answers" as const, "both" as const),
      millis: long
    })
  },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("Down" as const), millis: long }) },
  {
    weight: 4,
    arbitrary: fc.record({
      _tag: fc.constant("Failover" as const),
      loses: fc.constantFrom<Array<number | "grant" | "release">>(0, 1, 3, "grant", "grant", "release", "release")
    })
  },
  { weight: 1, arbitrary: fc.constant({ _tag: "Upgrade" as const }) },
  { weight: 1, arbitrary: fc.constant({ _tag: "Remove" as const }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("ReplaceLocks" as const), host }) },
  { weight: 1, arbitrary: fc.constant({ _tag: "Resign" as const }) }
)

const fate: fc.Arbitrary<Fate> = fc.oneof(
  fc.record({
    outcome: fc.constantFrom("refused" as const, "request lost" as const, "answer lost" as const, "broken" as const)
  }),
  fc.record({ requestDelay: short }),
  fc.record({ answerDelay: short }),
  fc.record({ requestDelay: fc.integer({ min: 4000, max: 20_000 }) }),
  fc.record({ server: fc.constant("former" as const) })
)

const fault: fc.Arbitrary<Fault> = fc.record({
  host,
  name: fc.constantFrom<Array<Statement["name"]>>("look", "look", "acquire", "acquire", "renew", "renew", "release"),
  nth: fc.integer({ min: 1, max: 8 }),
  fate
})

const service = fc.record({
  at: fc.oneof(fc.nat({ max: 3000 }), fc.nat({ max: 20_000 })),
  stopTakes: fc.oneof(fc.constantFrom(0, times.stopTimeout), fc.nat({ max: times.stopTimeout })),
  writeTakes: fc.oneof({ weight: 3, arbitrary: fc.nat({ max: 50 }) }, short)
})

const rate = fc.oneof(fc.constant(1), fc.integer({ min: -5, max: 5 }).map((thousandths) => 1 + thousandths / 1000))

export const scenario: fc.Arbitrary<Scenario> = fc.record({
  order: fc.nat({ max: 2 ** 30 }),
  rates: fc.tuple(rate, rate, rate),
  latency: fc.oneof(fc.constantFrom(0, 5), fc.nat({ max: 400 })),
  lateness: fc.constantFrom(0, 0, 100, 280),
  hints: fc.boolean(),
  services: fc.tuple(service, service, service, fc.option(fc.record({ host, service }))).map(([a, b, c, other]) => [
    { host: 0, ...a },
    { host: 1, ...b },
    { host: 2, ...c },
    ...(other === null ? [] : [{ host: other.host, ...other.service }])
  ]),
  faults: fc.array(fault, { maxLength: 4 }),
  events: fc.array(fc.record({ at: fc.integer({ min: 11_000, max: lastEvent }), what: happening }), { maxLength: 5 })
})

/**
 * A scenario in which nothing goes wrong. Host 0 creates the lease at 0 s, sees it at 3 s, acquires it at 12 s, and renews it every
 * 3 s. The looks of the other hosts come 0.1 s and 0.2 s after its renewals.
 */
export const calm: Scenario = {
  order: 0,
  rates: [1, 1, 1],
  latency: 0,
  lateness: 0,
  hints: false,
  services: [0, 3100, 3200].map((at, host) => ({ host, at, stopTakes: times.stopTimeout, writeTakes: 0 })),
  faults: [],
  events: []
}
