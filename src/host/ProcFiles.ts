/**
 * Lists the open files of processes, from `/proc/<pid>/fd` (proc_pid_fd(5)). That folder contains a link for each open file.
 *
 * For a process of another user, or a process that `/proc` hides, the list is empty. A host can have tens of thousands of links.
 * They are read synchronously, because a synchronous read takes only a few microseconds, less than a detour through libuv's thread
 * pool. After every few processes, other fibers get a turn.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { codeOf } from "../internal/errno.ts"

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
  /** The path of the link below `/proc`. It leads to the open file, even if the path in `target` now leads to another file. */
  readonly link: string
  /** The text of the link: the path of a file, or a name such as `socket:[<inode>]`. */
  readonly target: string
}

/**
 * The open files of one process. Empty if they cannot be read.
 *
 * Without the right to trace a process (ptrace(2), `PTRACE_MODE_READ_FSCREDS`), no link can be read. In a container, root can still
 * list the names of the links. So after the first link that is denied, the others are not tried: each would make an exception.
 */
export const openFiles = (pid: number): ReadonlyArray<OpenFile> => {
  const files: Array<OpenFile> = []
  for (const fd of attempt(() => Fs.readdirSync(folderOf(pid)), [])) {
    const link = `${folderOf(pid)}/${fd}`
    try {
      files.push({ link, target: Fs.readlinkSync(link) })
    } catch (cause) {
      if (codeOf(cause) === "EACCES") break
    }
  }
  return files
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

/**
 * Calls `look` for every process in `/proc`, until `look` returns `"enough"` or the time `limit` has passed. Returns `false` if
 * the time passed first.
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
