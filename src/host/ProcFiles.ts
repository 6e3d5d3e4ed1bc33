/**
 * Lists the open files of processes, from `/proc/<pid>/fd` (proc_pid_fd(5)).
 *
 * For a process of another user, or a process that `/proc` hides, the list is empty. Links are read synchronously, because a
 * host has tens of thousands of links and a synchronous read takes only a few microseconds. After every few processes, other
 * fibers get a turn.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"

/** How many processes are read before other fibers get a turn. */
const processesAtOnce = 16

const attempt = <A>(read: () => A, otherwise: A): A => {
  try {
    return read()
  } catch {
    return otherwise
  }
}

const folderOf = (pid: number): string => `/proc/${pid}/fd`

export interface OpenFile {
  /** The path below `/proc`. It leads to the file itself, even if the file's own path now names another file. */
  readonly link: string
  /** The text of the link: the path of a file, or a name such as `socket:[<inode>]`. */
  readonly target: string
}

/** The open files of one process. Empty if they cannot be read. */
export const openFiles = (pid: number): ReadonlyArray<OpenFile> =>
  attempt(() => Fs.readdirSync(folderOf(pid)), []).flatMap((fd) => {
    const link = `${folderOf(pid)}/${fd}`
    const target = attempt(() => Fs.readlinkSync(link), "")
    return target === "" ? [] : [{ link, target }]
  })

/** The program's file name, without arguments. `undefined` if it cannot be read. */
export const commandOf = (pid: number): string | undefined =>
  attempt(() => Fs.readlinkSync(`/proc/${pid}/exe`), undefined)?.replace(/ \(deleted\)$/, "").split("/").pop()

/** The uid of the user that owns a process. `undefined` if the process is gone or hidden. */
export const userOf = (pid: number): number | undefined => attempt(() => Fs.statSync(`/proc/${pid}`).uid, undefined)

/**
 * Whether two paths lead to the same file. The check is for a path that a process in another mount namespace uses. In this
 * process's namespace that path may not exist, or may name another file.
 */
export const isSameFile = (a: string, b: string): boolean =>
  attempt(() => {
    const [one, other] = [Fs.statSync(a, { bigint: true }), Fs.statSync(b, { bigint: true })]
    return one.dev === other.dev && one.ino === other.ino
  }, false)

/**
 * Calls `look` for every process in `/proc`, until `look` returns `"enough"` or the limit is reached. Returns `false` if the
 * limit was reached first.
 */
export const scan = (
  look: (pid: number, files: () => ReadonlyArray<OpenFile>) => "enough" | "more",
  limit: Duration.Duration
): Effect.Effect<boolean> =>
  Effect.gen(function*() {
    const pids = yield* Effect.sync(() =>
      attempt(() => Fs.readdirSync("/proc"), []).filter((name) => /^\d+$/.test(name)).map(Number)
    )
    const start = yield* Clock.currentTimeNanos
    for (let at = 0; at < pids.length; at += processesAtOnce) {
      for (const pid of pids.slice(at, at + processesAtOnce)) {
        if (look(pid, () => openFiles(pid)) === "enough") return true
      }
      if (Duration.greaterThan(Duration.nanos((yield* Clock.currentTimeNanos) - start), limit)) return false
      yield* Effect.sleep(Duration.zero)
    }
    return true
  })
