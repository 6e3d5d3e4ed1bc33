/**
 * Lists the open files of processes, from `/proc/<pid>/fd` (proc_pid_fd(5)). That folder contains a link for each open file.
 *
 * For a process of another user, or a process that `/proc` hides, the list is empty. A host can have tens of thousands of links, and
 * one process can have as many. They are read synchronously, because a synchronous read takes only a few microseconds, less than a
 * detour through libuv's thread pool. After a few milliseconds, other fibers get a turn (`Pace`).
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Fs from "node:fs"
import { codeOf } from "../internal/errno.ts"

/** How scans share the event loop with other fibers. The default suits a command that has nothing else to do. */
export interface Paces {
  /** How long a scan reads before other fibers get a turn. */
  readonly reading: Duration.Duration
  /** How long a scan then waits. */
  readonly pause: Duration.Duration
  /** Runs one turn of a scan. Scans with the same mutex do not run at the same time. */
  readonly turn: <A>(self: Effect.Effect<A>) => Effect.Effect<A>
}

export class Pace extends Context.Reference<Pace>()("gateway-lock/ProcPace", {
  defaultValue: (): Paces => ({ reading: Duration.millis(5), pause: Duration.zero, turn: identity })
}) {}

/** The entries of a folder are read from the kernel in groups of this size, so that a folder of any size can be left in time. */
const entriesAtOnce = 64

const attempt = <A>(read: () => A, otherwise: A): A => {
  try {
    return read()
  } catch {
    return otherwise
  }
}

const folderOf = (pid: number): string => `/proc/${pid}/fd`

export interface OpenFile {
  /** The path of the link below `/proc`. It leads to the open file, even if the path in `target` now leads to another file. */
  readonly link: string
  /** The text of the link: the path of a file, or a name such as `socket:[<inode>]`. */
  readonly target: string
}

/** The names in a folder, read as they are used. None if the folder cannot be read. */
function* namesIn(folder: string): Generator<string> {
  const opened = attempt(() => Fs.opendirSync(folder, { bufferSize: entriesAtOnce }), undefined)
  if (opened === undefined) return
  try {
    for (;;) {
      const entry = attempt(() => opened.readSync(), null)
      if (entry === null) return
      yield entry.name
    }
  } finally {
    attempt(() => opened.closeSync(), undefined)
  }
}

/**
 * The open files of one process, read as they are used. None if they cannot be read.
 *
 * Without the right to trace a process (ptrace(2), `PTRACE_MODE_READ_FSCREDS`), no link can be read. In a container, root can still
 * list the names of the links. So after the first link that is denied, the others are not tried: each would make an exception.
 */
function* openFiles(pid: number): Generator<OpenFile> {
  for (const fd of namesIn(folderOf(pid))) {
    const link = `${folderOf(pid)}/${fd}`
    try {
      yield { link, target: Fs.readlinkSync(link) }
    } catch (cause) {
      if (codeOf(cause) === "EACCES") return
    }
  }
}

/** The file name of the program that a process runs, without arguments. `undefined` if it cannot be read. */
export const commandOf = (pid: number): string | undefined =>
  attempt(() => Fs.readlinkSync(`/proc/${pid}/exe`), undefined)?.replace(/ \(deleted\)$/, "").split("/").pop()

/** The uid of the user that owns a process. `undefined` if the process is gone or hidden. */
export const userOf = (pid: number): number | undefined => attempt(() => Fs.statSync(`/proc/${pid}`).uid, undefined)

/**
 * Whether two paths lead to the same file. The texts of the paths cannot decide this, because one path can come from a process in
 * another mount namespace. In the mount namespace of this process, that path may not exist, or may lead to another file.
 */
export const isSameFile = (a: string, b: string): boolean =>
  attempt(() => {
    const [one, other] = [Fs.statSync(a, { bigint: true }), Fs.statSync(b, { bigint: true })]
    return one.dev === other.dev && one.ino === other.ino
  }, false)

/**
 * Whether an open file has a kernel lock (`lock:` in proc_pid_fdinfo(5)). `link` is the path of its link below `/proc`. The lock
 * distinguishes the holder of a lock file from a program that has opened the file only to inspect it.
 */
export const isLocked = (link: string): boolean =>
  /^lock:/m.test(attempt(() => Fs.readFileSync(link.replace("/fd/", "/fdinfo/"), "utf8"), ""))

/** The identity of the file that a link below `/proc` leads to (`<device>:<inode>`). `undefined` if it cannot be read. */
export const fileId = (link: string): string | undefined =>
  attempt(() => {
    const { dev, ino } = Fs.statSync(link, { bigint: true })
    return `${dev}:${ino}`
  }, undefined)

/** What a scan reads. */
export interface Scan {
  /** The processes to read, in this order. Default: every process in `/proc`. */
  readonly pids?: ReadonlyArray<number>
  /** Whether to read the open files of a process. Default: of each one. */
  readonly reads?: (pid: number) => boolean
  /** Called for each open file. `enough` ends the scan. */
  readonly file: (pid: number, file: OpenFile) => "enough" | "more"
  /** The longest time to read, without the pauses. */
  readonly limit: Duration.Duration
}

/** One step for each process and for each of its open files, so that a scan can pause after any of them. */
function* steps({ file, pids, reads }: Scan): Generator<"enough" | "more"> {
  const all = pids ?? attempt(() => Fs.readdirSync("/proc"), []).filter((name) => /^\d+$/.test(name)).map(Number)
  for (const pid of all) {
    if (reads?.(pid) !== false) { for (const found of openFiles(pid)) yield file(pid, found) }
    yield "more"
  }
}

/** Reads open files until `file` returns `enough` or the time `limit` has passed. Returns `false` if the time passed first. */
export const scan = (what: Scan): Effect.Effect<boolean> =>
  Effect.gen(function*() {
    const { pause, reading, turn } = yield* Pace
    const clock = yield* Effect.clock
    const [stretch, limit] = [Duration.unsafeToNanos(reading), Duration.unsafeToNanos(what.limit)]
    const rest = steps(what)
    yield* Effect.addFinalizer(() => Effect.sync(() => rest.return(undefined)))
    let read = 0n
    let isWhole = false
    const readOnce = Effect.suspend(() => {
      const began = clock.unsafeCurrentTimeNanos()
      let took = 0n
      do {
        const step = rest.next()
        isWhole = step.done === true || step.value === "enough"
        took = clock.unsafeCurrentTimeNanos() - began
      } while (!isWhole && took < stretch)
      read += took
      return isWhole ? Effect.void : Effect.sleep(pause)
    })
    yield* Effect.repeat(turn(readOnce), { until: () => isWhole || read > limit })
    return isWhole
  }).pipe(Effect.scoped)
