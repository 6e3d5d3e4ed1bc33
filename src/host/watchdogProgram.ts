/**
 * The program of the watchdog of `gateway exec` with a lease. It runs in a process of its own and kills the command, with all that
 * the command has started, when its parent ends or when the command must have stopped.
 *
 * The parent passes the text of `watchdogProgram` to Node. So the program does not depend on files that an update may have replaced
 * while the parent waited to lead. The function uses nothing but its parameters and Node's globals, and does not load Effect,
 * which would double its memory.
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

export const watchdogProgram = (
  { childProcess, fs, net, os }: Modules,
  { isJson, parent }: WatchdogArguments
): void => {
  const isLinux = process.platform === "linux"
  // The longest time by which a kill comes late.
  const tickMillis = 50
  // A suspended process starts no child. The limit bounds the searches for processes that start others faster than that.
  const maxSearches = 50
  const confirmMillis = 10
  const killMillis = 10_000
  const pause = new Int32Array(new SharedArrayBuffer(4))
  let killAt: bigint | undefined
  let killAtUptime: number | undefined
  let guarded: Guarded | undefined

  const attempt = <A>(read: () => A, otherwise: A): A => {
    try {
      return read()
    } catch {
      return otherwise
    }
  }

  const readStat = (pid: number): ReadonlyArray<Entry> => {
    // The name of the program is in parentheses, and can contain any character. See proc_pid_stat(5).
    const text = attempt(() => fs.readFileSync(`/proc/${pid}/stat`, "latin1"), "")
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ")
    const isEnded = text === "" || fields[0] === "Z" || fields[0] === "X"
    return isEnded
      ? []
      : [{ pid, parent: Number(fields[1]), session: Number(fields[3]), startTime: Number(fields[19]) }]
  }

  const readPs = (): ReadonlyArray<Entry> => {
    const columns = ["pid=", "ppid=", "sess=", "stat=", "lstart="].flatMap((column) => ["-o", column])
    const { stdout } = childProcess().spawnSync("ps", ["-A", ...columns], {
      encoding: "utf8",
      env: { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" },
      stdio: ["ignore", "pipe", "ignore"],
      timeout: 2000
    })
    return (stdout ?? "").split("\n").flatMap((line) => {
      const [pid, ppid, session, stat = "Z", , ...start] = line.trim().split(/\s+/)
      return stat.startsWith("Z")
        ? []
        : [{
          pid: Number(pid),
          parent: Number(ppid),
          session: Number.parseInt(session ?? "", 16) || 0,
          startTime: Date.parse(`${start.join(" ")} UTC`)
        }]
    })
  }

  const entries = (): ReadonlyArray<Entry> =>
    isLinux
      ? attempt(() => fs.readdirSync("/proc"), []).filter((name) => /^\d+$/.test(name)).flatMap((pid) =>
        readStat(Number(pid))
      )
      : readPs()

  /** Whether a process holds the lock by the open file that the command has inherited. */
  const holds = (pid: number, mark: string): boolean => {
    for (const fd of attempt(() => fs.readdirSync(`/proc/${pid}/fd`), [])) {
      const link = `/proc/${pid}/fd/${fd}`
      const id = attempt(() => {
        if (!fs.readlinkSync(link).startsWith("/")) return ""
        const { dev, ino } = fs.statSync(link, { bigint: true })
        return `${dev}:${ino}`
      }, "")
      if (id === mark && /^lock:/m.test(attempt(() => fs.readFileSync(`/proc/${pid}/fdinfo/${fd}`, "latin1"), ""))) {
        return true
      }
    }
    return false
  }

  const keyOf = ({ pid, startTime }: Entry): string => `${pid}:${startTime}`

  /** The command, all that it has started, and the descendants of processes that were found before. */
  const search = (command: Guarded, found: ReadonlyMap<string, Entry>): ReadonlyArray<Entry> => {
    const all = entries().filter(({ pid }) => pid !== process.pid && pid !== parent)
    const isReused = all.some(({ pid, startTime }) =>
      pid === command.pid && command.startTime !== undefined && startTime !== command.startTime
    )
    const isRoot = (entry: Entry) =>
      found.has(keyOf(entry))
      || (!isReused &&
        (entry.pid === command.pid || (command.leadsSession && isLinux && entry.session === command.pid)))
      || (isLinux && command.mark !== undefined && holds(entry.pid, command.mark))
    const chosen = new Map(all.filter(isRoot).map((entry) => [entry.pid, entry]))
    let size = -1
    while (size !== chosen.size) {
      size = chosen.size
      for (const entry of all) if (chosen.has(entry.parent)) chosen.set(entry.pid, entry)
    }
    return [...chosen.values()]
  }

  const send = (pid: number, signal: NodeJS.Signals): boolean => attempt(() => process.kill(pid, signal), false)

  /** Suspends all processes before it kills the first, because a process that is not suspended could start another one meanwhile. */
  const killTree = (command: Guarded): number => {
    const found = new Map<string, Entry>()
    const killed = new Set<string>()
    const deadline = Date.now() + killMillis
    let isConfirmed = false
    for (let searches = 1; Date.now() < deadline; searches++) {
      const fresh = search(command, found).filter((entry) => !found.has(keyOf(entry)))
      for (const entry of fresh) {
        found.set(keyOf(entry), entry)
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
        // SIGSTOP reaches the threads of a process one after the other.
        Atomics.wait(pause, 0, 0, confirmMillis)
      }
    }
    return killed.size
  }

  const say = (message: string): void => {
    const line = isJson
      ? JSON.stringify({ level: "ERROR", timestamp: new Date().toISOString(), message })
      : `gateway: ${message}`
    attempt(() => fs.writeSync(2, `${line}\n`), 0)
  }

  const end = (why: string): never => {
    if (guarded !== undefined) {
      const count = killTree(guarded)
      if (count > 0) say(`${why}, so the command was killed (${count === 1 ? "one process" : `${count} processes`})`)
    }
    return process.exit(0)
  }

  const obey = (line: string): void => {
    const [word, ...rest] = line.split(" ")
    switch (word) {
      case "kill-at":
        killAt = BigInt(rest[0] ?? 0)
        killAtUptime = rest[1] === "-" ? undefined : Number(rest[1])
        return
      case "guard":
        guarded = {
          pid: Number(rest[0]),
          startTime: rest[1] === "-" ? undefined : Number(rest[1]),
          mark: rest[2] === "-" ? undefined : rest[2],
          leadsSession: rest[3] === "session"
        }
        attempt(() => fs.writeSync(1, "guards\n"), 0)
        return
      case "done":
        return process.exit(0)
    }
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
  attempt(() => fs.writeSync(1, "ready\n"), 0)
  setInterval(() => {
    // After a pause of this process, a line that moves the moment may wait to be read. It is read before `setImmediate` calls.
    if (isTime()) setImmediate(() => isTime() ? end("this host must not lead any more") : undefined)
  }, tickMillis)
}

/** The text of the program, for `node -`. */
export const watchdogText = (given: WatchdogArguments): string =>
  `(${watchdogProgram})({ fs: require("node:fs"), net: require("node:net"), os: require("node:os"), `
  + `childProcess: () => require("node:child_process") }, ${JSON.stringify(given)})\n`
