/**
 * Was the guard kept? Judges a report, pure.
 *
 * Written from what each process believed and did, in order, and not from the guard's own records: a holder is whoever
 * was told that it holds the lock, has not let go of it, and lives.
 */
import { Cause, Exit, Option } from "effect"
import { isTagged } from "effect/Predicate"
import { coversGuard } from "../../src/Address.ts"
import { renderEntry } from "../../src/testing/SimulatedKernel.ts"
import { isRecordOnly, type Scenario } from "./scenario.ts"
import type { Entry, Player, Report } from "./simulate.ts"

/** One holder of one lock, while it holds it. */
interface Holding {
  readonly serial: number
  /** The file that it wrote its record to. */
  readonly ino: number | undefined
  /** Its file was removed or replaced by somebody who does not know the rules: until it finds out, it is not safe. */
  dispossessed: boolean
}

/** A system call, and where in the log it stands. */
interface Call {
  readonly name: string
  readonly target: string
  readonly at: number
}

const isEnd = (name: string): boolean => name.startsWith("is killed") || name.startsWith("ends")

/** Of `ws://<host>:<port>`. */
const hostOf = (url: string): string => url.slice("ws://".length, url.lastIndexOf(":")).replace(/^\[|\]$/g, "")

const changes = new Set(["write", "ftruncate", "utimes", "rename", "unlink"])

/** What a reclaimer does between opening a file and moving it aside, and what tells nothing of whose the name is by then. */
const reads = new Set(["fstat", "read", "close", "readlink"])

const names = new Set([
  "PortInUse",
  "BindFailed",
  "LockHeld",
  "LockUnavailable",
  "LockLost",
  "OwnerHealthy",
  "OwnerUnhealthy"
])

const refusals = new Set(["PortInUse", "LockHeld", "OwnerHealthy", "OwnerUnhealthy"])

export const describeEntry = (entry: Entry): string => {
  switch (entry._tag) {
    case "Traced":
      return renderEntry(entry.entry)
    case "Enters":
      return `${"".padStart(11)}  #${entry.serial} holds both locks`
    case "Leaves":
      return `${"".padStart(11)}  #${entry.serial} lets go of both locks`
    case "Tampers":
      return `${"".padStart(11)}  somebody tampers with ${entry.paths.join(", ")}`
  }
}

/** What was violated, in words; nothing, if the guard was kept. */
export const check = (scenario: Scenario, report: Report): ReadonlyArray<string> => [
  ...exclusion(report, isBeyondRecords(scenario) && hasFallenBack(report)),
  ...inspection(report),
  ...locks(scenario, report),
  ...releaseOrder(report),
  ...report.players.flatMap((player) => endOf(scenario, report, player)),
  ...report.aftermath
]

// ---------------------------------------------------------------------------
// at most one holder per lock, no steal, and nobody touches what another holds
// ---------------------------------------------------------------------------

/**
 * What records alone cannot bear, and what is not drawn where they must (see `scenario.ts`): a wall clock that is stepped
 * under owners in other PID namespaces. Where kernel locks work, one refused call makes a start fall back to its record.
 */
const isBeyondRecords = ({ events, starters }: Scenario): boolean =>
  events.some(({ what }) => what._tag === "StepClock")
  && new Set(starters.map(({ pidNamespace }) => pidNamespace)).size > 1

/**
 * Stopped for so long, a holder whose record alone tells of it may be taken for dead: half a minute makes it stale, less
 * what has passed since it wrote last. From then on it is not safe; but what another holds now, it must leave alone.
 */
const longestStop = 18_000

/** What one that continues has decided to do already: it does it to whatever has become of the file. */
const callsUnderWay = 2

/** `onlyPorts`: then the port is the second lock, and the one that must hold. */
const exclusion = ({ log, players }: Report, onlyPorts: boolean): ReadonlyArray<string> => {
  const violations: Array<string> = []
  const holdings = new Map<string, Array<Holding>>()
  const holdersOf = (path: string) => holdings.get(path) ?? []
  const release = (serial: number) => {
    for (const [path, held] of holdings) holdings.set(path, held.filter((holding) => holding.serial !== serial))
  }
  const listeners = new Map<string, Set<number>>()
  /** Two on one port, by serial, and since when. */
  let together: Array<{ readonly pair: readonly [number, number]; readonly port: string; readonly at: number }> = []
  /**
   * Who has bound its own address and not yet the guard address, for which all contend, and since when. Who does not get
   * the second closes the first in the same breath, and has been nobody.
   */
  const binding = new Map<number, number>()
  const hasNotBound = (serial: number) => {
    const since = binding.get(serial) ?? Infinity
    together = together.filter(({ at, pair }) => at < since || !pair.includes(serial))
  }
  const networks = new Map(players.map(({ networkNamespace, serial }) => [serial, networkNamespace]))
  /** Since when a process is stopped, and how many calls one that was stopped for long has made since. */
  const stopped = new Map<number, number>()
  const callsSinceStop = new Map<number, number>()
  const dispossess = (serial: number) => {
    for (const held of holdings.values()) {
      for (const holding of held) if (holding.serial === serial) holding.dispossessed = true
    }
  }
  const dead = new Set<number>()
  /** When a process started, and when a path was last tampered with. */
  const started = new Map<number, number>()
  const tampered = new Map<string, number>()
  /** By process and path: the file last written there. */
  const written = new Map<string, number>()
  /** By process: its last system call, and its last but for `reads`. */
  const last = new Map<number, Call>()
  const lastBeforeReads = new Map<number, Call>()
  /**
   * No system call removes or moves a name only if it is still a certain file's. Who removes with the very next call after
   * it has looked, or moves aside what it has just opened and read, cannot know what somebody who does not know the rules
   * has done in between.
   */
  const wasSure = (who: number, name: string, target: string): boolean => {
    const before = (call: Call | undefined, look: string) =>
      call?.name === look && call.target === target && call.at < (tampered.get(target) ?? -1)
    return (name === "unlink" && before(last.get(who), "stat"))
      || (name === "rename" && before(lastBeforeReads.get(who), "open"))
  }

  for (const [at, entry] of log.entries()) {
    switch (entry._tag) {
      case "Enters": {
        if (dead.has(entry.serial)) break
        for (const path of entry.lockPaths) {
          // It may have had this one before it came to the other.
          const dispossessed = (tampered.get(path) ?? -1) > (started.get(entry.serial) ?? 0)
          for (const other of holdersOf(path)) {
            if (!onlyPorts && !dispossessed && !other.dispossessed) {
              violations.push(`#${entry.serial} and #${other.serial} both hold ${path}`)
            }
          }
          const ino = written.get(`${entry.serial} ${path}`)
          holdings.set(path, [...holdersOf(path), { serial: entry.serial, ino, dispossessed }])
        }
        break
      }
      case "Leaves":
        release(entry.serial)
        break
      case "Tampers":
        for (const path of entry.paths) {
          tampered.set(path, at)
          for (const holding of holdersOf(path)) holding.dispossessed = true
        }
        break
      case "Traced": {
        const { at: now, ino, name, outcome, serial, target } = entry.entry
        for (const [serial, since] of stopped) if (now - since > longestStop) dispossess(serial)
        if (Option.isNone(serial)) break
        const who = serial.value
        if (name === "stops" && !stopped.has(who)) stopped.set(who, now)
        if (name === "continues") {
          if (now - (stopped.get(who) ?? now) > longestStop) callsSinceStop.set(who, 0)
          stopped.delete(who)
        }
        if (name === "starts") started.set(who, at)
        if (isEnd(name)) {
          dead.add(who)
          release(who)
          hasNotBound(who)
          for (const bound of listeners.values()) bound.delete(who)
        }
        const isGuard = binding.has(who)
        if (isGuard && outcome !== "") {
          if (name === "bind" && outcome === "EADDRINUSE") hasNotBound(who)
          binding.delete(who)
        }
        const calls = callsSinceStop.get(who)
        const excused = outcome === "ok" && (wasSure(who, name, target) || (calls ?? Infinity) < callsUnderWay)
        if (outcome !== "" && calls !== undefined) callsSinceStop.set(who, calls + 1)
        if (outcome !== "") {
          last.set(who, { name, target, at })
          if (!reads.has(name)) lastBeforeReads.set(who, { name, target, at })
        }
        if (outcome !== "ok") break
        if (changes.has(name)) {
          if (Option.isSome(ino)) written.set(`${who} ${target}`, ino.value)
          const victim = holdersOf(target).find((holding) =>
            holding.serial !== who && !holding.dispossessed
            // A file that has lost its name may be written to by whoever has it open still.
            && (Option.isNone(ino) || ino.value === holding.ino)
          )
          if (!onlyPorts && victim !== undefined && !excused) {
            violations.push(`#${who} changes ${target} (${name}), which #${victim.serial} holds`)
          }
        }
        if (name === "bind" || (name === "close" && target.startsWith("ws://"))) {
          const port = `${networks.get(who) ?? ""} ${target.slice(target.lastIndexOf(":"))}`
          const bound = listeners.get(port) ?? new Set()
          listeners.set(port, bound)
          if (name === "bind") {
            if (!isGuard && !coversGuard(hostOf(target), "linux")) binding.set(who, at)
            for (const other of bound) {
              if (other !== who) {
                together.push({ pair: [who, other], port: target.slice(target.lastIndexOf(":") + 1), at })
              }
            }
            bound.add(who)
          } else bound.delete(who)
        }
      }
    }
  }
  return [
    ...violations,
    ...together.map(({ pair: [one, other], port }) => `#${one} and #${other} both listen on port ${port}`)
  ]
}

// ---------------------------------------------------------------------------
// who only looks changes nothing
// ---------------------------------------------------------------------------

const inspection = ({ inspectors, log }: Report): ReadonlyArray<string> =>
  log.flatMap((entry) =>
    entry._tag === "Traced" && Option.exists(entry.entry.serial, (serial) => inspectors.has(serial))
      && changes.has(entry.entry.name)
      ? [`#${Option.getOrThrow(entry.entry.serial)}, which only inspects, changes ${entry.entry.target}`]
      : []
  )

// ---------------------------------------------------------------------------
// what was acquired is released, once, in reverse order
// ---------------------------------------------------------------------------

const releaseOrder = ({ log }: Report): ReadonlyArray<string> => {
  const violations: Array<string> = []
  // Taken as config, state; so given back as listener, state, config.
  const taken = new Map<number, ReadonlyArray<string>>()
  const leaving = new Map<number, Set<string>>()
  for (const entry of log) {
    if (entry._tag === "Enters") taken.set(entry.serial, entry.lockPaths)
    // What is unlinked before was an attempt to have a lost file again.
    if (entry._tag === "Leaves") leaving.set(entry.serial, new Set())
    if (entry._tag !== "Traced" || Option.isNone(entry.entry.serial)) continue
    const { name, outcome, serial: { value: serial }, target } = entry.entry
    // The first thing that another attempt does is to ask the port.
    if (name === "connect") leaving.delete(serial)
    const done = leaving.get(serial)
    if (done === undefined || outcome !== "ok") continue
    const [config = "", state = ""] = taken.get(serial) ?? []
    const say = (what: string) => violations.push(`#${serial} ${what}`)
    if (name === "unlink" && target === config) {
      if (done.has(config)) say("releases its config lock twice")
      done.add(config)
    }
    if (name === "unlink" && target === state && done.has(config)) {
      say("gives its state lock back after its config lock")
    }
    if (name === "close" && target.startsWith("ws://")) say("closes its port after it has begun to let go of its locks")
  }
  return violations
}

// ---------------------------------------------------------------------------
// how each one ended
// ---------------------------------------------------------------------------

const endOf = (scenario: Scenario, report: Report, player: Player): ReadonlyArray<string> => {
  if (Option.isNone(player.exit) || Exit.isSuccess(player.exit.value)) return []
  const { cause } = player.exit.value
  const say = (what: string) => [`#${player.serial} ${what}`]
  if (Option.isSome(Cause.dieOption(cause))) return say(`ends with a defect: ${Cause.pretty(cause)}`)
  const failure = Option.getOrUndefined(Cause.failureOption(cause))
  if (failure === undefined) return []
  const tag = [...names].find((name) => isTagged(failure, name))
  if (tag === undefined) return say(`ends with what is no GatewayLockError: ${String(failure)}`)
  const tampered = report.log.some(({ _tag }) => _tag === "Tampers")
  const disturbed = player.failed || scenario.events.some(({ what }) => what._tag === "FullDisk")
  if (tag === "LockLost" && !tampered && !disturbed) return say("loses its lock, which nobody touched")
  if (tag === "LockUnavailable" && !disturbed && !tampered) return say(`cannot use its lock: ${String(failure)}`)
  if (tag === "BindFailed" && !disturbed) return say(`cannot bind: ${String(failure)}`)
  const recordOnly = isRecordOnly(scenario) || hasFallenBack(report)
  if (refusals.has(tag) && !player.failed && !hadCompany(report, player, recordOnly)) {
    return say(`is refused (${tag}) by nobody`)
  }
  return []
}

/** Granted, or refused because another open file has it: on Windows, `EBUSY`. */
const lockAnswers = new Set(["ok", "EAGAIN", "EBUSY"])

/** Where locks work, the system knows what it is asked for: these are what a schedule lets fail. */
const drawnFaults = new Set(["EIO", "ENOLCK"])

const locks = ({ locking }: Scenario, { log }: Report): ReadonlyArray<string> =>
  locking !== "works" ? [] : log.flatMap((entry) =>
    entry._tag === "Traced" && entry.entry.name === "fcntl"
      && !lockAnswers.has(entry.entry.outcome) && !drawnFaults.has(entry.entry.outcome)
      ? [`#${Option.getOrElse(entry.entry.serial, () => 0)} asks for a lock that cannot be had: ${entry.entry.outcome}`]
      : []
  )

/** Whether somebody was refused a kernel lock by the system, and so may have locked by its record alone. */
const hasFallenBack = ({ log }: Report): boolean =>
  log.some((entry) =>
    entry._tag === "Traced" && entry.entry.name === "fcntl"
    && !lockAnswers.has(entry.entry.outcome)
  )

/** Whether there was another starter in its lifetime; without kernel locks, what a dead one left counts as well. */
const hadCompany = ({ inspectors, log }: Report, player: Player, leftoversCount: boolean): boolean => {
  const alive = new Set<number>()
  let mine = false
  let before = 0
  for (const entry of log) {
    if (entry._tag !== "Traced" || Option.isNone(entry.entry.serial)) continue
    const { name, serial: { value: serial } } = entry.entry
    if (inspectors.has(serial)) continue
    if (name === "starts") {
      if (serial === player.serial) mine = true
      else {
        alive.add(serial)
        before += 1
      }
    }
    if (mine && (alive.size > 0 || (leftoversCount && before > 0))) return true
    if (isEnd(name)) {
      if (serial === player.serial) return false
      alive.delete(serial)
    }
  }
  return false
}
