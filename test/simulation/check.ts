/**
 * Judges whether the guard was kept in a report. Pure.
 *
 * The judge reads the log of system calls and of what each process believed, not the guard's own records. A holder is a
 * living process that was told that it holds the lock, and has not released it.
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
  /** The inode of the file with its record. */
  readonly ino: number | undefined
  /** An intruder, which ignores the lock's rules, has removed or replaced the file. Until the holder notices, it is not safe. */
  dispossessed: boolean
}

/** A system call, and its position in the log. */
interface Call {
  readonly name: string
  readonly target: string
  readonly at: number
}

const isEnd = (name: string): boolean => name.startsWith("is killed") || name.startsWith("ends")

/** The host of `ws://<host>:<port>`. */
const hostOf = (url: string): string => url.slice("ws://".length, url.lastIndexOf(":")).replace(/^\[|\]$/g, "")

const changes = new Set(["write", "ftruncate", "utimes", "rename", "unlink"])

/**
 * The calls of a reclaimer between opening a file and moving it aside. They do not show whether the name still belongs to
 * that file.
 */
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

/** The violations as text; empty if the guard was kept. */
export const check = (scenario: Scenario, report: Report): ReadonlyArray<string> => [
  ...exclusion(report, isBeyondRecords(scenario) && hasFallenBack(report)),
  ...inspection(report),
  ...locks(scenario, report),
  ...releaseOrder(report),
  ...report.players.flatMap((player) => endOf(scenario, report, player)),
  ...report.aftermath
]

// ---------------------------------------------------------------------------
// at most one holder per lock; no process changes a lock that another holds
// ---------------------------------------------------------------------------

/**
 * The limit of records without kernel locks: a stepped wall clock with owners in several PID namespaces. `scenario.ts` does
 * not draw it where records must suffice. Where kernel locks work, one refused call makes a start fall back to its record, so
 * it can occur.
 */
const isBeyondRecords = ({ events, starters }: Scenario): boolean =>
  events.some(({ what }) => what._tag === "StepClock")
  && new Set(starters.map(({ pidNamespace }) => pidNamespace)).size > 1

/**
 * Without kernel locks, a holder that is stopped for longer than this may be treated as dead. A record gets stale half a
 * minute after the holder last wrote it. From then on the holder is not safe, but it still must not change what another
 * process holds.
 */
const longestStop = 18_000

/**
 * The calls that a continued process had already decided on before it was stopped. It makes them even if the file has changed
 * since.
 */
const callsUnderWay = 2

/** With `onlyPorts`, the port is the second lock and must exclude on its own. */
const exclusion = ({ log, players }: Report, onlyPorts: boolean): ReadonlyArray<string> => {
  const violations: Array<string> = []
  const holdings = new Map<string, Array<Holding>>()
  const holdersOf = (path: string) => holdings.get(path) ?? []
  const release = (serial: number) => {
    for (const [path, held] of holdings) holdings.set(path, held.filter((holding) => holding.serial !== serial))
  }
  const listeners = new Map<string, Set<number>>()
  /** Pairs of processes (by serial) that listen on one port, and since when. */
  let together: Array<{ readonly pair: readonly [number, number]; readonly port: string; readonly at: number }> = []
  /**
   * Processes that have bound their own address and not yet the guard address, for which all compete, and since when. A
   * process that does not get the guard address closes the first one at once, and has served no client.
   */
  const binding = new Map<number, number>()
  const hasNotBound = (serial: number) => {
    const since = binding.get(serial) ?? Infinity
    together = together.filter(({ at, pair }) => at < since || !pair.includes(serial))
  }
  const networks = new Map(players.map(({ networkNamespace, serial }) => [serial, networkNamespace]))
  /** When a process was stopped, and how many calls it has made since it continued after a long stop. */
  const stopped = new Map<number, number>()
  const callsSinceStop = new Map<number, number>()
  const dispossess = (serial: number) => {
    for (const held of holdings.values()) {
      for (const holding of held) if (holding.serial === serial) holding.dispossessed = true
    }
  }
  const dead = new Set<number>()
  /** When a process started, and when an intruder last changed a path. */
  const started = new Map<number, number>()
  const tampered = new Map<string, number>()
  /** By process and path: the inode of the file last written there. */
  const written = new Map<string, number>()
  /** By process: its last system call, and its last call that is not one of `reads`. */
  const last = new Map<number, Call>()
  const lastBeforeReads = new Map<number, Call>()
  /**
   * No system call removes or renames a name only if it still belongs to a certain file. A process may remove a name in the
   * call right after `stat`, or move aside a file that it has just opened and read. It cannot know what an intruder did in
   * between.
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
          // An intruder may have changed this lock before the process acquired the other one.
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
            // A process may write to a file that has lost its name, if it still has the file open.
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
// inspectors change nothing
// ---------------------------------------------------------------------------

const inspection = ({ inspectors, log }: Report): ReadonlyArray<string> =>
  log.flatMap((entry) =>
    entry._tag === "Traced" && Option.exists(entry.entry.serial, (serial) => inspectors.has(serial))
      && changes.has(entry.entry.name)
      ? [`#${Option.getOrThrow(entry.entry.serial)}, which only inspects, changes ${entry.entry.target}`]
      : []
  )

// ---------------------------------------------------------------------------
// each lock is released once, in reverse order
// ---------------------------------------------------------------------------

const releaseOrder = ({ log }: Report): ReadonlyArray<string> => {
  const violations: Array<string> = []
  // The locks are acquired in the order config, state. They are released in the order listener, state, config.
  const taken = new Map<number, ReadonlyArray<string>>()
  const leaving = new Map<number, Set<string>>()
  for (const entry of log) {
    if (entry._tag === "Enters") taken.set(entry.serial, entry.lockPaths)
    // An unlink before the release is an attempt to restore a lost file.
    if (entry._tag === "Leaves") leaving.set(entry.serial, new Set())
    if (entry._tag !== "Traced" || Option.isNone(entry.entry.serial)) continue
    const { name, outcome, serial: { value: serial }, target } = entry.entry
    // A further attempt begins with a probe of the port.
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
// how each process ended
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

/** The answers to a lock request: granted, or refused because another open file holds the lock (`EBUSY` on Windows). */
const lockAnswers = new Set(["ok", "EAGAIN", "EBUSY"])

/** The errors that a schedule injects into lock requests. Where locks work, no other error occurs. */
const drawnFaults = new Set(["EIO", "ENOLCK"])

const locks = ({ locking }: Scenario, { log }: Report): ReadonlyArray<string> =>
  locking !== "works" ? [] : log.flatMap((entry) =>
    entry._tag === "Traced" && entry.entry.name === "fcntl"
      && !lockAnswers.has(entry.entry.outcome) && !drawnFaults.has(entry.entry.outcome)
      ? [`#${Option.getOrElse(entry.entry.serial, () => 0)} asks for a lock that cannot be had: ${entry.entry.outcome}`]
      : []
  )

/** Whether the system refused a kernel lock to a process, which then may have locked by its record alone. */
const hasFallenBack = ({ log }: Report): boolean =>
  log.some((entry) =>
    entry._tag === "Traced" && entry.entry.name === "fcntl"
    && !lockAnswers.has(entry.entry.outcome)
  )

/** Whether another starter ran during this one's lifetime. Without kernel locks, the files of a dead one count as well. */
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
