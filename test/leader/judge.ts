/**
 * The rules that no schedule may break, whatever leaders believe. `simulate.ts` records what the judge looks at.
 */
import type { JournalEntry, ResourceWrite } from "../../src/testing/SimulatedLeaseStore.ts"
import { type Scenario, times } from "./scenario.ts"

/** A broken rule, in words. */
export type Broken = string

/** The time in which the work of one leader ran. */
export interface Tenure {
  readonly host: string
  readonly fencingToken: bigint
  readonly from: number
  /** `undefined`: it still runs. */
  to: number | undefined
  /** The pauses of its process or host. */
  readonly pauses: ReadonlyArray<Pause>
}

export interface Pause {
  readonly from: number
  readonly to: number
  /** Whether the clock of the host stood still. Then the deadline of a leader is later by as much. */
  readonly stopsClock: boolean
}

export interface Loss {
  readonly host: string
  readonly at: number
  readonly error: string
}

export interface Record {
  readonly scenario: Scenario
  readonly journal: ReadonlyArray<JournalEntry>
  readonly writes: ReadonlyArray<ResourceWrite>
  readonly tenures: ReadonlyArray<Tenure>
  readonly losses: ReadonlyArray<Loss>
  /** When a leader crashed while other processes were candidates. */
  readonly crashes: ReadonlyArray<number>
  /** What went wrong, and when. An empty host: for all hosts. */
  readonly faults: ReadonlyArray<{ readonly host: string; readonly from: number; readonly to: number }>
}

/** How late a timer may run, by the assumptions of the lease. */
const schedulingDelay = 300

/** By when a process that was paused has stopped, or has learned that it still leads. */
const pauseEnds = ({ stopsClock, to }: Pause): number =>
  to + schedulingDelay + ((stopsClock ? times.renewDeadline : 0) + times.stopTimeout) * 1.01

/**
 * The times in which the work of a leader may have acted. A pause breaks the assumptions: a process that continues may act until its
 * timers run and its work has stopped. So the time from the beginning of a pause until then is left out, and only fencing is judged.
 */
const actsIn = ({ from, pauses, to = Number.POSITIVE_INFINITY }: Tenure): ReadonlyArray<readonly [number, number]> => {
  let parts: ReadonlyArray<readonly [number, number]> = [[from, to]]
  for (const pause of pauses) {
    const end = pauseEnds(pause)
    parts = parts.flatMap(([from, to]) =>
      [[from, Math.min(to, pause.from)] as const, [Math.max(from, end), to] as const].filter(([from, to]) => from < to)
    )
  }
  return parts
}

/**
 * Whether a failover gave the lease back to a leader whose clock had stood still. Its deadline had not passed by its own clock, so its
 * next renewal succeeds. The other leader, whose grant was lost, ends at its own next renewal. Only fencing protects meanwhile.
 */
const isGivenBack = ({ journal }: Record, { fencingToken, host, pauses }: Tenure, grantedAt: number): boolean =>
  pauses.some((pause) =>
    pause.stopsClock && pause.from <= grantedAt
    && journal.some((failover) =>
      failover.what === "failover" && grantedAt <= failover.at && failover.at <= pauseEnds(pause)
      && journal.some((entry) =>
        entry.what === "renewed" && entry.host === host && entry.fencingToken === fencingToken &&
        entry.at >= failover.at
      )
    )
  )

/** I1: a leader has stopped before another one is granted the lease. */
const oneLeader = (record: Record): ReadonlyArray<Broken> => {
  const { journal, tenures } = record
  const grants = new Map(
    journal.filter(({ what }) => what === "granted").map((grant) => [grant.fencingToken, grant.at])
  )
  return tenures.flatMap((tenure) =>
    tenures.flatMap((other) => {
      // By token, not by time: a process that was paused can learn of its grant after the next leader.
      if (other.fencingToken <= tenure.fencingToken) return []
      const grantedAt = grants.get(other.fencingToken) ?? other.from
      const acts = actsIn(tenure).find(([, to]) => grantedAt < to)
      return acts === undefined || isGivenBack(record, tenure, grantedAt)
        ? []
        : [
          `host ${other.host} was granted ${other.fencingToken} at ${grantedAt} while host ${tenure.host} acted until ${
            acts[1]
          }`
        ]
    })
  )
}

/** I2: the newest token is accepted, and no older one after it. Also: no two leaders have the same token. */
const fenced = ({ tenures, writes }: Record): ReadonlyArray<Broken> => {
  let highest = 0n
  const broken: Array<Broken> = []
  for (const { at, fencingToken, isAccepted } of writes) {
    if (isAccepted && fencingToken < highest) {
      broken.push(`a write with ${fencingToken} at ${at} after one with ${highest}`)
    }
    if (!isAccepted && fencingToken >= highest) {
      broken.push(`a write with the newest token ${fencingToken} is refused at ${at}`)
    }
    if (isAccepted && fencingToken > highest) highest = fencingToken
  }
  if (new Set(tenures.map(({ fencingToken }) => fencingToken)).size < tenures.length) {
    broken.push("two leaders have the same token")
  }
  return broken
}

/** I3: tokens strictly grow, also those that a failover has lost. */
const growing = ({ journal }: Record): ReadonlyArray<Broken> => {
  const grants = journal.filter(({ what }) => what === "granted")
  return grants.flatMap(({ fencingToken }, index) => {
    const before = grants[index - 1]?.fencingToken ?? 0n
    return fencingToken > before ? [] : [`${fencingToken} is granted after ${before}`]
  })
}

/** I4: after a crash and without another fault or event, a candidate is granted the lease in time. */
const succeeded = ({ crashes, faults, journal, scenario }: Record): ReadonlyArray<Broken> => {
  // A transaction that is still open delays a takeover, as documented.
  if (scenario.services.some(({ writeTakes }) => writeTakes > times.attemptTimeout / 2)) return []
  const bound = times.duration + times.renewInterval + times.attemptTimeout
  return crashes.flatMap((crash) => {
    const isDisturbed = faults.some(({ from, to }) => from <= crash + bound && crash - bound <= to)
      || scenario.events.some(({ at }) => at !== crash && Math.abs(at - crash) <= bound)
    const isTaken = journal.some(({ at, what }) => what === "granted" && crash <= at && at <= crash + bound)
    return isDisturbed || isTaken ? [] : [`nobody leads within ${bound} ms of the crash at ${crash}`]
  })
}

/** I5: nobody loses the lease without a fault. A fault can show as late as a deadline later. */
const causeless = ({ faults, losses }: Record): ReadonlyArray<Broken> =>
  losses.flatMap(({ at, error, host }) => {
    const isExplained = faults.some((fault) =>
      (fault.host === "" || fault.host === host)
      && fault.from <= at
      && at <= fault.to + times.renewDeadline + 2 * times.attemptTimeout + times.stopTimeout + schedulingDelay
    )
    return isExplained ? [] : [`host ${host} lost the lease at ${at} without a fault: ${error}`]
  })

export const judge = (record: Record): ReadonlyArray<Broken> => [
  ...oneLeader(record),
  ...fenced(record),
  ...growing(record),
  ...succeeded(record),
  ...causeless(record)
]
