/**
 * The program of the watchdog of `gateway exec` with a lease. It runs in a process of its own and kills the command, with all that
 * the command has started, when its parent ends or when the command must have stopped.
 *
 * The parent passes the text of the program to Node. So the program does not depend on files that an update may have replaced while
 * the parent waited to lead. Each function here uses nothing but its parameters and Node's globals, because a bundler renames
 * names at the top level. The program does not load Effect, which would double its memory.
 *
 * The parent writes lines to descriptor 3:
 *
 *     kill-at <nanoseconds of the monotonic clock> <seconds since boot, or ->
 *     guard <pid> <start time, or -> <device:inode of the lock's open file, or -> <session | ->
 *     done
 *
 * The program answers `ready` and `guards` on descriptor 1. If descriptor 3 ends without `done`, it kills at once.
 */
// This program runs without Effect.
// @effect-diagnostics globalTimers:off
// @effect-diagnostics globalDate:off
// @effect-diagnostics processEnv:off
import type * as ChildProcess from "node:child_process"
import type * as Fs from "node:fs"
import type * as Net from "node:net"
import type * as Os from "node:os"

interface Entry {
  readonly pid: number
  readonly parent: number
  readonly session: number
  readonly startTime: number
}

/** Looks at the processes of this host. */
interface Processes {
  readonly all: () => ReadonlyArray<Entry>
  /** Whether a process holds a lock by the open file with this device and inode. */
  readonly holds: (pid: number, mark: string) => boolean
}

type Search = (command: Guarded, found: ReadonlyMap<string, Entry>) => ReadonlyArray<Entry>

interface Guarded {
  readonly pid: number
  readonly startTime: number | undefined
  readonly mark: string | undefined
  readonly leadsSession: boolean
}

/** The modules of Node that the program uses. */
export interface Modules {
  readonly fs: typeof Fs
  readonly net: typeof Net
  readonly os: typeof Os
  readonly childProcess: () => typeof ChildProcess
}

/** How the program is started: the pid of its parent, and the format of its one line on stderr. */
export interface WatchdogArguments {
  readonly parent: number
  readonly isJson: boolean
}

interface Parts {
  readonly linuxProcesses: (modules: Modules) => Processes
  readonly otherProcesses: (modules: Modules) => Processes
  readonly searcher: (processes: Processes, given: WatchdogArguments) => Search
  readonly killer: (search: Search) => (command: Guarded) => number
}

/** Reads proc_pid_stat(5), proc_pid_fd(5) and proc_pid_fdinfo(5). */
const linuxProcesses: Parts["linuxProcesses"] = ({ fs }) => {
  const attempt = <A>(read: () => A, otherwise: A): A => {
    try {
      return read()
    } catch {
      return otherwise
    }
  }
  const readStat = (pid: number): ReadonlyArray<Entry> => {
    // The name of the program is in parentheses, and can contain any character.
    const text = attempt(() => fs.readFileSync(`/proc/${pid}/stat`, "latin1"), "")
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ")
    const hasEnded = text === "" || fields[0] === "Z" || fields[0] === "X"
    return hasEnded
      ? []
      : [{ pid, parent: Number(fields[1]), session: Number(fields[3]), startTime: Number(fields[19]) }]
  }
  const isMarked = (link: string, mark: string): boolean =>
    attempt(() => {
      if (!fs.readlinkSync(link).startsWith("/")) return false
      const { dev, ino } = fs.statSync(link, { bigint: true })
      return `${dev}:${ino}` === mark
    }, false)
  return {
    all: () =>
      attempt(() => fs.readdirSync("/proc"), []).filter((name) => /^\d+$/.test(name)).flatMap((pid) =>
        readStat(Number(pid))
      ),
    holds: (pid, mark) =>
      attempt(() => fs.readdirSync(`/proc/${pid}/fd`), []).some((fd) =>
        isMarked(`/proc/${pid}/fd/${fd}`, mark)
        && /^lock:/m.test(attempt(() => fs.readFileSync(`/proc/${pid}/fdinfo/${fd}`, "latin1"), ""))
      )
  }
}

/** Runs ps(1). Elsewhere than on Linux, no program shows the locks of open files. */
const otherProcesses: Parts["otherProcesses"] = ({ childProcess }) => ({
  all: () => {
    const columns = ["pid=", "ppid=", "stat=", "lstart="].flatMap((column) => ["-o", column])
    const { stdout } = childProcess().spawnSync("ps", ["-A", ...columns], {
      encoding: "utf8",
      env: { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" },
      stdio: ["ignore", "pipe", "ignore"],
      timeout: 2000
    })
    return (stdout ?? "").split("\n").flatMap((line) => {
      const [pid, ppid, stat = "Z", , ...start] = line.trim().split(/\s+/)
      const startTime = Date.parse(`${start.join(" ")} UTC`)
      return stat.startsWith("Z") ? [] : [{ pid: Number(pid), parent: Number(ppid), session: 0, startTime }]
    })
  },
  holds: () => false
})

/** Searches for the command, all that it has started, and the descendants of processes that were found before. */
const searcher: Parts["searcher"] = (processes, { parent }) => (command, found) => {
  const all = processes.all().filter(({ pid }) => pid !== process.pid && pid !== parent)
  const { leadsSession, mark, pid: root, startTime: since } = command
  const isReused = all.some(({ pid, startTime }) => pid === root && since !== undefined && startTime !== since)
  const chosen = new Map(
    all.filter((entry) =>
      found.has(`${entry.pid}:${entry.startTime}`)
      || (!isReused && (entry.pid === root || (leadsSession && entry.session === root)))
      || (mark !== undefined && processes.holds(entry.pid, mark))
    ).map((entry) => [entry.pid, entry])
  )
  let size = -1
  while (size !== chosen.size) {
    size = chosen.size
    for (const entry of all) if (chosen.has(entry.parent)) chosen.set(entry.pid, entry)
  }
  return [...chosen.values()]
}

/**
 * Kills the command and all that it has started. Suspends all processes before it kills the first, because a process that is not
 * suspended could start another one meanwhile. Returns how many processes were killed.
 */
const killer: Parts["killer"] = (search) => (command) => {
  // The limits bound the searches for processes that start others faster than they are suspended.
  const maxSearches = 50
  const killMillis = 10_000
  // SIGSTOP reaches the threads of a process one after the other.
  const confirmMillis = 10
  const pause = new Int32Array(new SharedArrayBuffer(4))
  const send = (pid: number, signal: NodeJS.Signals): void => {
    try {
      process.kill(pid, signal)
    } catch {
      // It has ended, or belongs to another user.
    }
  }
  const found = new Map<string, Entry>()
  const killed = new Set<string>()
  const end = process.hrtime.bigint() + BigInt(killMillis) * 1_000_000n
  let isConfirmed = false
  for (let searches = 1; process.hrtime.bigint() < end; searches++) {
    const fresh = search(command, found).filter(({ pid, startTime }) => !found.has(`${pid}:${startTime}`))
    for (const entry of fresh) {
      found.set(`${entry.pid}:${entry.startTime}`, entry)
      send(entry.pid, "SIGSTOP")
    }
    if (fresh.length > 0 && searches < maxSearches) isConfirmed = false
    else if (isConfirmed || found.size === 0 || searches >= maxSearches) {
      const left = [...found].filter(([key]) => !killed.has(key))
      if (left.length === 0) break
      for (const [key, entry] of left) {
        killed.add(key)
        send(entry.pid, "SIGKILL")
      }
      isConfirmed = false
    } else {
      isConfirmed = true
      Atomics.wait(pause, 0, 0, confirmMillis)
    }
  }
  return killed.size
}

const watch = (modules: Modules, given: WatchdogArguments, parts: Parts): void => {
  const { fs, net, os } = modules
  // The longest time by which a kill comes late.
  const tickMillis = 50
  const processes = process.platform === "linux" ? parts.linuxProcesses(modules) : parts.otherProcesses(modules)
  const killTree = parts.killer(parts.searcher(processes, given))
  let killAt: bigint | undefined
  let killAtUptime: number | undefined
  let guarded: Guarded | undefined
  const write = (descriptor: number, line: string): void => {
    try {
      fs.writeSync(descriptor, `${line}\n`)
    } catch {
      // Its reader has ended.
    }
  }
  const end = (why: string): never => {
    const count = guarded === undefined ? 0 : killTree(guarded)
    const message = `${why}, so the command was killed (${count === 1 ? "one process" : `${count} processes`})`
    const line = given.isJson
      ? JSON.stringify({ level: "ERROR", timestamp: new Date().toISOString(), message })
      : `gateway: ${message}`
    if (count > 0) write(2, line)
    return process.exit(0)
  }
  const obey = (line: string): void => {
    const [word, ...rest] = line.split(" ")
    if (word === "done") process.exit(0)
    if (word === "kill-at") {
      killAt = BigInt(rest[0] ?? 0)
      killAtUptime = rest[1] === "-" ? undefined : Number(rest[1])
      return
    }
    guarded = {
      pid: Number(rest[0]),
      startTime: rest[1] === "-" ? undefined : Number(rest[1]),
      mark: rest[2] === "-" ? undefined : rest[2],
      leadsSession: rest[3] === "session"
    }
    write(1, "guards")
  }
  const isTime = (): boolean =>
    killAt !== undefined
    && (process.hrtime.bigint() >= killAt || (killAtUptime !== undefined && os.uptime() >= killAtUptime))

  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const) process.on(signal, () => {})
  process.title = "gateway exec watchdog"
  let text = ""
  new net.Socket({ fd: 3, readable: true, writable: false })
    .on("data", (data) => {
      text += data.toString("latin1")
      const lines = text.split("\n")
      text = lines.pop() ?? ""
      lines.forEach(obey)
    })
    .on("error", () => {})
    .on("close", () => end("its wrapper has ended"))
    .resume()
  write(1, "ready")
  setInterval(() => {
    // After a pause of this process, a line that moves the moment may wait to be read. It is read before `setImmediate` calls.
    if (isTime()) setImmediate(() => isTime() ? end("this host must not lead any more") : undefined)
  }, tickMillis)
}

/** The text of the program, for `node -`. */
export const watchdogText = (given: WatchdogArguments): string =>
  `(${watch})(
    { fs: require("node:fs"), net: require("node:net"), os: require("node:os"), childProcess: () => require("node:child_process") },
    ${JSON.stringify(given)},
    { linuxProcesses: ${linuxProcesses}, otherProcesses: ${otherProcesses}, searcher: ${searcher}, killer: ${killer} }
  )\n`
