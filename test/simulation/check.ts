/**
 * Judges a simulation. The main rule is mutual exclusion: at most one process at a time holds a lock, and at most one listens
 * on a port. The functions below check further rules, such as the order of releases. All of them are pure.
 *
 * The judge reads the log, which has the system calls and what each process believed. It does not read the records in the lock
 * files. A holder is a living process that was told that it holds the lock, and has not released the lock yet.
 */
import { Cause, Exit, Option } from "effect"
import { hasProperty, isTagged } from "effect/Predicate"
import { coversGuard } from "../../src/Address.ts"
import { renderEntry } from "../../src/testing/SimulatedKernel.ts"
import { isRecordOnly, type Scenario } from "./scenario.ts"
import type { Entry, Player, Report } from "./simulate.ts"

/** One period in which a process holds a lock: from the acquire until it releases the lock or ends. */
interface Holding {
  readonly serial: number
  /** The inode of the lock file that this process last wrote. */
  readonly ino: number | undefined
  /**
   * Whether the holder may have lost the lock without a mistake of the algorithm. There are two such cases. An intruder, which
   * ignores the rules of the lock, has removed or replaced the lock file. Or the holder was stopped for longer than its record
   * stays fresh.
   */
  dispossessed: boolean
}

/** A call in the log, on a path or on a URL such as `ws://127.0.0.1:18789` (`target`). `at` is the position of the call in the log. */
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
 * The calls that a start makes after it has opened a stale lock file, and before it renames that file to move it aside. These
 * calls do not show whether the name still belongs to the opened file.
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

/** The violations of all rules, as text. The result is empty if there is none. */
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
 * Whether a scenario steps the wall clock and has starts in several PID namespaces. In such a scenario, the gateway promises no
 * mutual exclusion without kernel locks. A start then judges an owner in another PID namespace by the age of the owner's record,
 * and the step of the clock makes that age wrong.
 *
 * `scenario.ts` draws such a scenario only with kernel locks. But an injected fault can make a request for a kernel lock fail. The
 * start that made the request then has only its record in the lock file, so mutual exclusion is not promised for this start.
 */
const isBeyondRecords = ({ events, starters }: Scenario): boolean =>
  events.some(({ what }) => what._tag === "StepClock")
  && new Set(starters.map(({ pidNamespace }) => pidNamespace)).size > 1

/**
 * The longest stop of a holder, in milliseconds, during which its lock is safe without kernel locks. A holder writes its record
 * every 10 s, and 30 s after the last write the record is stale. So a stop of 20 s can make the record stale; 2 s are subtracted
 * as a margin. If the record is stale, another start may treat the holder as dead, and the holder may lose its lock. But even
 * after such a stop, the holder must not change a lock that another process holds.
 */
const longestStop = 18_000

/**
 * How many calls of a process are excused after it continues from a long stop. The process decided on these calls before the stop.
 * So it cannot know that another process has replaced the lock file during the stop.
 */
const callsUnderWay = 2

/**
 * Checks that at most one process holds a lock, and that at most one listens on a port. With `onlyPorts`, only the ports are
 * judged: even if the locks fail, the port lets only one gateway serve.
 */
const exclusion = ({ log, players }: Report, onlyPorts: boolean): ReadonlyArray<string> => {
  const violations: Array<string> = []
  const holdings = new Map<string, Array<Holding>>()
  const holdersOf = (path: string) => holdings.get(path) ?? []
  const release = (serial: number) => {
    for (const [path, held] of holdings) holdings.set(path, held.filter((holding) => holding.serial !== serial))
  }
  const listeners = new Map<string, Set<number>>()
  /**
   * Pairs of processes, by serial number, that listen on the same port. `at` is the position in the log at which the second
   * one bound the port.
   */
  let together: Array<{ readonly pair: readonly [number, number]; readonly port: string; readonly at: number }> = []
  /**
   * Processes that have bound the first of their two addresses, but not yet the second. A gateway binds the address that it is
   * configured for, and then 127.0.0.1 with the same port, which only one process can bind. A process that cannot bind 127.0.0.1
   * closes its first address at once, before it has served a client. The key is the serial number of the process. The value is
   * the position in the log at which the process bound its first address.
   */
  const binding = new Map<number, number>()
  const hasNotBound = (serial: number) => {
    const since = binding.get(serial) ?? Infinity
    together = together.filter(({ at, pair }) => at < since || !pair.includes(serial))
  }
  const networks = new Map(players.map(({ networkNamespace, serial }) => [serial, networkNamespace]))
  /**
   * `stopped`: for each process that is stopped at present, the time at which it was stopped. `callsSinceStop`: the number of
   * calls that a process has made since it continued after a long stop.
   */
  const stopped = new Map<number, number>()
  const callsSinceStop = new Map<number, number>()
  const dispossess = (serial: number) => {
    for (const held of holdings.values()) {
      for (const holding of held) if (holding.serial === serial) holding.dispossessed = true
    }
  }
  const dead = new Set<number>()
  /**
   * `started`: the position in the log at which each process started. `tampered`: the position in the log at which an intruder
   * last changed each path.
   */
  const started = new Map<number, number>()
  const tampered = new Map<string, number>()
  /** For each process and path: the inode of the file that the process last wrote under this path. */
  const written = new Map<string, number>()
  /** `last`: the last system call of each process. `lastBeforeReads`: its last call that is not one of `reads`. */
  const last = new Map<number, Call>()
  const lastBeforeReads = new Map<number, Call>()
  /**
   * Whether this call is excused. It is excused if the process had just checked that the name belongs to the file that it
   * expects, and an intruder removed or replaced the file after that check.
   *
   * A process may remove a name in the call right after `stat`, and may move aside a file that it has just opened and read. It
   * cannot know what an intruder did between the check and the call. No system call can remove or rename a name on the condition
   * that the name belongs to a certain file.
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
          // The process acquires its two locks one after the other. So an intruder may have changed this lock while the
          // process acquired the other one.
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
            // A process that has a file open may write to the file even after the file has lost its name. Such a write does not
            // harm the holder, whose file has another inode.
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
  // A process acquires the config lock and then the state lock. It closes its listener and then releases the state lock and
  // the config lock, in this order.
  const taken = new Map<number, ReadonlyArray<string>>()
  const leaving = new Map<number, Set<string>>()
  for (const entry of log) {
    if (entry._tag === "Enters") taken.set(entry.serial, entry.lockPaths)
    // An unlink counts only after the process has begun to release its locks. An unlink before that is part of restoring a lost
    // lock file.
    if (entry._tag === "Leaves") leaving.set(entry.serial, new Set())
    if (entry._tag !== "Traced" || Option.isNone(entry.entry.serial)) continue
    const { name, outcome, serial: { value: serial }, target } = entry.entry
    // Each attempt to start begins with a `connect`, which probes the port. So at a `connect`, the release that ended the
    // process's previous attempt is finished.
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
  // A start is refused at once by an owner that serves another port, so that start has not waited.
  const hasWaited = tag === "LockHeld" && !(hasProperty(failure, "serving") && failure.serving !== undefined)
  if (hasWaited && !looksAtLast(report, player)) return say("is refused because of what it saw before it was stopped")
  const recordOnly = isRecordOnly(scenario) || hasFallenBack(report)
  if (refusals.has(tag) && !player.failed && !hadCompany(report, player, recordOnly)) {
    return say(`is refused (${tag}) by nobody`)
  }
  return []
}

/**
 * Whether a start that was stopped opened a lock file after it continued, or had opened one when its time was over. Without that, it
 * gave up because of what it saw before the stop, although the owner may have ended since.
 */
const looksAtLast = ({ log }: Report, { serial, timeout }: Player): boolean => {
  let startedAt = 0
  let looked = 0
  let isOutdated = false
  for (const entry of log) {
    if (entry._tag !== "Traced" || !Option.contains(entry.entry.serial, serial)) continue
    const { at, name, target } = entry.entry
    if (name === "starts") startedAt = at
    if (name === "continues") isOutdated = looked < startedAt + timeout
    if ((name === "open" || name === "readlink") && target.endsWith(".lock")) {
      looked = at
      isOutdated = false
    }
  }
  return !isOutdated
}

/**
 * The outcomes of a request for a kernel lock that are not errors. Either the lock is granted (`ok`), or it is refused because
 * another open file holds the lock (`EAGAIN`, or `EBUSY` on Windows).
 */
const lockAnswers = new Set(["ok", "EAGAIN", "EBUSY"])

/**
 * The errors that a scenario injects into requests for a kernel lock. On a host where kernel locks work, these are the only
 * errors.
 */
const drawnFaults = new Set(["EIO", "ENOLCK"])

const locks = ({ locking }: Scenario, { log }: Report): ReadonlyArray<string> =>
  locking !== "works" ? [] : log.flatMap((entry) =>
    entry._tag === "Traced" && entry.entry.name === "fcntl"
      && !lockAnswers.has(entry.entry.outcome) && !drawnFaults.has(entry.entry.outcome)
      ? [`#${Option.getOrElse(entry.entry.serial, () => 0)} asks for a lock that cannot be had: ${entry.entry.outcome}`]
      : []
  )

/**
 * Whether a request for a kernel lock failed with an error. The process that made the request may then have locked by its
 * record alone.
 */
const hasFallenBack = ({ log }: Report): boolean =>
  log.some((entry) =>
    entry._tag === "Traced" && entry.entry.name === "fcntl"
    && !lockAnswers.has(entry.entry.outcome)
  )

/**
 * Whether another process ran during the lifetime of `player`, so that this other process can be the reason for a refusal. With
 * `leftoversCount`, a process that ended before `player` started counts as well. Without kernel locks, the files of such a
 * process can block a start.
 */
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
