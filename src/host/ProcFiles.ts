/**
 * What processes have open, from `/proc/<pid>/fd` (proc_pid_fd(5)).
 *
 * A process of another user, or one that `/proc` hides, shows nothing. Read synchronously, some processes at a time: a
 * link costs a few microseconds that way, and a host has tens of thousands of them.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"

/** How much of `/proc` is read before others have their turn. */
const processesAtOnce = 16

const attempt = <A>(read: () => A, otherwise: A): A => {
  try {
    return read()
  } catch {
    return otherwise
  }
}

const folderOf = (pid: number): string => `/proc/${pid}/fd`

/** One open file: the link in `/proc` and what it says. */
export interface OpenFile {
  /** The way to the file itself, whatever its path means by now. */
  readonly link: string
  readonly target: string
}

/** What one process has open; empty where that cannot be seen. */
export const openFiles = (pid: number): ReadonlyArray<OpenFile> =>
  attempt(() => Fs.readdirSync(folderOf(pid)), []).flatMap((fd) => {
    const link = `${folderOf(pid)}/${fd}`
    const target = attempt(() => Fs.readlinkSync(link), "")
    return target === "" ? [] : [{ link, target }]
  })

/** The program's file name, without arguments; `undefined` where it cannot be read. */
export const commandOf = (pid: number): string | undefined =>
  attempt(() => Fs.readlinkSync(`/proc/${pid}/exe`), undefined)?.replace(/ \(deleted\)$/, "").split("/").pop()

/** Whose process it is; `undefined` where it is gone or hidden. */
export const userOf = (pid: number): number | undefined => attempt(() => Fs.statSync(`/proc/${pid}`).uid, undefined)

/** Whether two paths lead to one file: a path of another mount namespace may not be there, or be another file here. */
export const isSameFile = (a: string, b: string): boolean =>
  attempt(() => {
    const [one, other] = [Fs.statSync(a, { bigint: true }), Fs.statSync(b, { bigint: true })]
    return one.dev === other.dev && one.ino === other.ino
  }, false)

/**
 * Looks at every process that can be seen, until told that it is enough or the time is up. Returns whether it came to an
 * end in time.
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
