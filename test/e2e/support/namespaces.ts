/**
 * Runs programs in new namespaces (namespaces(7)). A command prefix puts a program there, and the functions give a test access
 * to the program from outside.
 */
import { Effect, Option, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Processes from "./processes.ts"
import * as Program from "./program.ts"

/** A command prefix that runs a program as pid 1 of a new PID namespace with its own `/proc`, as in a container. */
export const pid: ReadonlyArray<string> = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]

/** A command prefix that runs a program in a new network namespace whose loopback interface is up. */
export const network: ReadonlyArray<string> = [
  "unshare",
  "--net",
  "sh",
  "-c",
  "ip link set lo up && exec \"$@\"",
  "sh"
]

/** A command prefix that runs a program in a new time namespace. `offsets` are the seconds by which each of its clocks is shifted. */
export const time = (offsets: { readonly boottime?: number; readonly monotonic?: number }): ReadonlyArray<string> => [
  "unshare",
  "--time",
  ...Object.entries(offsets).flatMap(([clock, seconds]) => [`--${clock}`, String(seconds)]),
  "--fork",
  "--kill-child"
]

/** The reason to skip a test that needs a network namespace; `undefined` if the test can run. */
export const noNetwork = Program.noNamespaces ?? Program.without("ip")

/** The pid of a process's parent, from proc(5). None if the process is gone. */
const parentOf = (pid: string): Effect.Effect<Option.Option<number>> =>
  Effect.tryPromise(() => Fs.readFile(`/proc/${pid}/stat`, "utf8")).pipe(
    Effect.map((stat) => Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1])),
    Effect.option
  )

/** The pid of the only child of a program that forks, such as unshare(1). It is the pid in the PID namespace of the test. */
export const childOf = (parent: Processes.Running): Effect.Effect<number> =>
  Effect.gen(function*() {
    const pids = (yield* Effect.promise(() => Fs.readdir("/proc"))).filter((name) => /^\d+$/.test(name))
    const parents = yield* Effect.forEach(pids, parentOf, { concurrency: 16 })
    const children = pids.filter((_, index) => Option.contains(parents[index] ?? Option.none(), parent.pid))
    const [only] = children
    return only === undefined || children.length > 1
      ? yield* Effect.dieMessage(`pid ${parent.pid} has ${children.length} children`)
      : Number(only)
  })

/** Sends a signal to the only child of a program that forks, and waits until the child and the program have ended. */
export const stopChild = (
  parent: Processes.Running,
  signal: NodeJS.Signals = "SIGTERM"
): Effect.Effect<Processes.Ended> =>
  Effect.flatMap(
    childOf(parent),
    (child) => Effect.zipRight(Effect.sync(() => process.kill(child, signal)), parent.ended)
  )

/**
 * Mounts in a mount namespace that one test has made. Other tests do not see these mounts. The mounts end when the scope closes.
 */
export interface Mounts {
  /** A command prefix that runs a program with these mounts. */
  readonly under: ReadonlyArray<string>
  /** Converts a path in the mount namespace to a path by which this process reaches the same file. */
  readonly seen: (path: string) => string
  /** Runs a shell script with these mounts; a failure fails the test. */
  readonly sh: (script: string, ...args: ReadonlyArray<string>) => Effect.Effect<void>
}

/** Makes a mount namespace and runs a shell script there, which mounts what the test needs. */
export const mounts = (
  script: string,
  ...args: ReadonlyArray<string>
): Effect.Effect<Mounts, never, Scope.Scope> =>
  Effect.gen(function*() {
    const options = { cwd: Os.tmpdir(), env: { PATH: Program.searchPath } }
    const keeper = yield* Processes.start(
      ["unshare", "--mount", "sh", "-e", "-c", `${script}\necho mounted >&2\nexec sleep 300`, "sh", ...args],
      options
    )
    yield* keeper.line(/^mounted$/)
    const under = ["nsenter", "--target", String(keeper.pid), "--mount"]
    return {
      under,
      seen: (path) => `/proc/${keeper.pid}/root${path}`,
      sh: (script, ...args) =>
        Effect.scoped(Effect.gen(function*() {
          const running = yield* Processes.start([...under, "sh", "-e", "-c", script, "sh", ...args], options)
          const { code, stderr } = yield* running.ended
          if (code !== 0) return yield* Effect.dieMessage(`${script}\nended with ${code}: ${stderr}`)
        }))
    }
  })
