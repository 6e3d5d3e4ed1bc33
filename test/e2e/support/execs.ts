/**
 * Runs `gateway exec` (the wrapper of a command) for a test, and kills the processes that the command leaves behind.
 */
import { assert } from "@effect/vitest"
import { Array, Effect, Schedule, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Gateways from "./gateways.ts"
import * as Processes from "./processes.ts"

/** The command line that runs `execChild.cjs`. A comment in that file lists the behaviors. */
export const child = (...behaviors: ReadonlyArray<string>): ReadonlyArray<string> => [
  process.execPath,
  fileURLToPath(new URL("execChild.cjs", import.meta.url)),
  ...behaviors
]

/** The arguments with which the program runs a command under the lock. `flags` are flags of `gateway exec`. */
export const args = (
  site: Gateways.Site,
  words: ReadonlyArray<string>,
  flags: ReadonlyArray<string> = []
): ReadonlyArray<string> => [
  "exec",
  "--port",
  String(site.port),
  "--state-dir",
  site.stateDir,
  "--config",
  site.configPath,
  ...flags,
  "--",
  ...words
]

export type Options = Omit<Gateways.StartOptions, "args">

const options = (site: Gateways.Site, words: ReadonlyArray<string>, { flags, ...rest }: Options) => ({
  ...rest,
  args: args(site, words, flags)
})

/** Starts `gateway exec`, and kills it when the scope closes. */
export const start = (site: Gateways.Site, words: ReadonlyArray<string>, given: Options = {}) =>
  Gateways.start(site, options(site, words, given))

/** Runs `gateway exec` until it ends. */
export const run = (site: Gateways.Site, words: ReadonlyArray<string>, given: Options = {}) =>
  Gateways.run(site, options(site, words, given))

// ---------------------------------------------------------------------------
// processes that are not children of the test
// ---------------------------------------------------------------------------

const stateOf = (pid: number): Promise<string | undefined> =>
  Fs.readFile(`/proc/${pid}/stat`, "utf8").then(
    (stat) => stat.slice(stat.lastIndexOf(")") + 2).split(" ")[0],
    () => undefined
  )

/** Whether a process has ended. A process whose parent has not collected its status yet (a zombie) has ended as well. */
export const hasEnded = (pid: number): Effect.Effect<boolean> =>
  Effect.map(Effect.promise(() => stateOf(pid)), (state) => state === undefined || state === "Z" || state === "X")

/** Polls until a condition holds. Node reports the end of a process only to its parent, and the test is not the parent. */
export const until = (what: string, condition: Effect.Effect<boolean>): Effect.Effect<void> =>
  condition.pipe(
    Effect.repeat({ until: (holds) => holds, schedule: Schedule.spaced("20 millis") }),
    Effect.timeoutFail({ duration: "30 seconds", onTimeout: () => new Error(`waited in vain: ${what}`) }),
    Effect.orDie,
    Effect.asVoid
  )

export const untilEnded = (pid: number): Effect.Effect<void> => until(`the end of pid ${pid}`, hasEnded(pid))

/** Polls the record, which is the JSON text in the lock file, until `holds` is true. While the file is missing, it polls on. */
export const untilRecord = (
  site: Gateways.Site,
  what: string,
  holds: (record: typeof Gateways.LockRecord.Type) => boolean
): Effect.Effect<void> =>
  until(
    what,
    Gateways.readRecord(Gateways.configLock(site)).pipe(
      Effect.map(holds),
      Effect.catchAllCause(() => Effect.succeed(false))
    )
  )

/** Sends SIGKILL to a process. If its start time differs, the pid belongs to another process by now, which is left alone. */
export const kill = (pid: number, startTime: number): Effect.Effect<void> =>
  Processes.startTimeOf(pid).pipe(
    Effect.map((now) => now === startTime && process.kill(pid, "SIGKILL")),
    Effect.catchAllCause(() => Effect.void),
    Effect.asVoid
  )

/** Kills a process when the scope closes, because a command can outlive the `gateway exec` that started it. */
export const killLater = (pid: number): Effect.Effect<number, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.map(Processes.startTimeOf(pid), (startTime) => ({ pid, startTime })),
    ({ pid, startTime }) => kill(pid, startTime)
  ).pipe(Effect.as(pid))

/** The pid in the first line `<name> <pid>` of stderr. The process is killed when the scope closes. */
export const pidOf = (running: Processes.Running, name = "child"): Effect.Effect<number, never, Scope.Scope> =>
  running.line(new RegExp(`^${name} \\d+$`)).pipe(
    Effect.map((line) => Number(line.split(" ")[1])),
    Effect.flatMap(killLater)
  )

/** Starts `gateway exec`, and waits until its command has written its pid. */
export const startChild = (site: Gateways.Site, behaviors: ReadonlyArray<string>, given: Options = {}) =>
  Effect.gen(function*() {
    const wrapper = yield* start(site, child(...behaviors), given)
    return { wrapper, pid: yield* pidOf(wrapper) }
  })

/**
 * Starts `gateway exec` many times at once, for one gateway. Checks that one command runs, and that the other starts end with 75.
 *
 * The judge is a lock that each command takes itself, with flock(1) on the file `witness`. If another command runs at the same
 * time, that command has this lock. Then `flock -n` fails at once, and its `gateway exec` ends with 1 instead of 75.
 */
export const assertOneOf = (contenders: number): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const site = yield* Gateways.newSite
    const script = "echo run >> runs; exec flock -n witness \"$@\" || echo two > two"
    const words = ["sh", "-c", script, "sh", ...child("listen")]
    const starts = yield* Effect.forEach(
      Array.range(1, contenders),
      () =>
        start(site, words, {
          niceness: 10,
          patience: "150 seconds",
          flags: ["--lock-timeout", "2 minutes", "--log-level", "warning"]
        }),
      { concurrency: "unbounded" }
    )
    const outcomes = yield* Effect.forEach(
      starts,
      (start) =>
        Effect.raceFirst(
          Effect.map(start.ended, (ended) => ({ _tag: "Ended" as const, ended })),
          Effect.map(start.line(/^child \d+$/), () => ({ _tag: "Running" as const, start }))
        ),
      { concurrency: "unbounded" }
    )
    const winners = outcomes.flatMap((outcome) => outcome._tag === "Running" ? [outcome.start] : [])
    assert.strictEqual(winners.length, 1)
    for (const outcome of outcomes) {
      if (outcome._tag === "Ended") assert.strictEqual(outcome.ended.code, 75, outcome.ended.stderr)
    }
    for (const winner of winners) {
      yield* pidOf(winner)
      assert.deepStrictEqual(
        yield* Effect.promise(() => Fs.readFile(Path.join(site.root, "runs"), "utf8")),
        "run\n"
      )
      assert.notInclude(yield* Gateways.namesIn(site.root), "two")
      yield* winner.signal("SIGUSR1")
    }
  })
