/**
 * Starts programs for a test. A test starts each program in a scope. When that scope closes, the program is killed.
 */
import { Cause, Deferred, Duration, Effect, FiberId, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"

/** How a program ended: its exit status or signal, and all its output. */
export interface Ended {
  readonly code: number | null
  readonly signal: string | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly pid: number
  /** The text written to stderr so far. */
  readonly stderr: Effect.Effect<string>
  /**
   * Returns the first line of stderr that matches. If no line matches yet, it waits for one. The effect dies if the program ends
   * without such a line, or if the wait takes too long.
   */
  readonly line: (pattern: RegExp) => Effect.Effect<string>
  /** Completes once the program has logged that its gateway listens. */
  readonly listening: Effect.Effect<void>
  /** Completes when the program ends. The effect dies if that takes too long. */
  readonly ended: Effect.Effect<Ended>
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
}

/** The start time of a process from proc(5), in clock ticks since boot, as a lock file's record has it. */
export const startTimeOf = (pid: number): Effect.Effect<number> =>
  Effect.promise(async () => {
    const stat = await Fs.readFile(`/proc/${pid}/stat`, "utf8")
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19])
  })

/** The longest time for one step of a test, even on a busy machine. */
const patience = Duration.seconds(60)

const describe = (words: ReadonlyArray<string>, { code, signal, stderr, stdout }: Ended) =>
  `${words.join(" ")}\nended with ${code ?? signal}\nstdout: ${stdout}\nstderr: ${stderr}`

const firstMatch = (text: string, pattern: RegExp): string | undefined =>
  text.split("\n").slice(0, -1).find((line) => pattern.test(line))

/** Whether a child has ended. */
export const isOver = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null

export interface StartOptions {
  readonly env: Record<string, string>
  readonly cwd: string
  readonly niceness?: number | undefined
  /** How long a step may take. Default: 60 seconds. */
  readonly patience?: Duration.DurationInput
}

/** Starts a program without a shell, with `env` as its whole environment. The program is killed when the scope closes. */
export const start = (
  words: ReadonlyArray<string>,
  options: StartOptions
): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => launch(words, options)),
      // The child is killed through its handle, and only if it has not ended. So the signal cannot reach another process that has
      // got the same pid.
      ({ child, ended }) =>
        Effect.zipRight(
          Effect.sync(() => isOver(child) || child.kill("SIGKILL")),
          Effect.ignoreLogged(ended)
        )
    ),
    ({ running }) => running
  )

/** Limits the time of a step. If the step takes too long, the effect dies with a message that contains the program's stderr. */
export const within = ({ patience, stderr, words }: {
  readonly words: ReadonlyArray<string>
  readonly stderr: () => string
  readonly patience: Duration.DurationInput
}) =>
<A>(what: string, step: Effect.Effect<A>): Effect.Effect<A> =>
  Effect.timeoutFailCause(step, {
    duration: patience,
    onTimeout: () =>
      Cause.die(new Error(`${words.join(" ")}\n${what} within ${Duration.format(patience)}\nstderr: ${stderr()}`))
  })

/**
 * Waits for the first whole line on stderr that matches. The caller must run all functions in `readers` whenever the program has
 * written more output. `over` completes when the program has ended and no more output follows.
 */
export const lineOf = (
  { over, readers, stderr, words }: {
    readonly stderr: () => string
    readonly readers: Set<() => void>
    readonly over: Deferred.Deferred<Ended>
    readonly words: ReadonlyArray<string>
  },
  pattern: RegExp
): Effect.Effect<string> =>
  Effect.raceFirst(
    Effect.async<string>((resume) => {
      const look = () => {
        const found = firstMatch(stderr(), pattern)
        if (found !== undefined) resume(Effect.succeed(found))
      }
      readers.add(look)
      look()
      return Effect.sync(() => readers.delete(look))
    }),
    Effect.flatMap(Deferred.await(over), (end) => {
      const found = firstMatch(end.stderr, pattern)
      return found === undefined
        ? Effect.dieMessage(`no line ${pattern} from ${describe(words, end)}`)
        : Effect.succeed(found)
    })
  )

const launch = ([command = "", ...args]: ReadonlyArray<string>, options: StartOptions) => {
  const words = [command, ...args]
  const child = spawn(command, args, { env: options.env, cwd: options.cwd, stdio: ["ignore", "pipe", "pipe"] })
  const { pid, stderr, stdout } = child
  // A test that starts hundreds of programs gives them a lower priority, so that other tests get processor time.
  if (pid !== undefined && options.niceness !== undefined) Os.setPriority(pid, options.niceness)
  const over = Deferred.unsafeMake<Ended>(FiberId.none)
  const written = { stdout: "", stderr: "" }
  const readers = new Set<() => void>()
  const wake = () => {
    for (const reader of readers) reader()
  }
  stdout.setEncoding("utf8").on("data", (text: string) => {
    written.stdout += text
  })
  stderr.setEncoding("utf8").on("data", (text: string) => {
    written.stderr += text
    wake()
  })
  const finish = (code: number | null, signal: string | null) => {
    Deferred.unsafeDone(over, Effect.succeed({ code, signal, ...written }))
    wake()
  }
  child.on("close", finish)
  child.on("error", (error) => {
    written.stderr += `${error.message}\n`
    finish(null, "not started")
  })

  const stderrNow = () => written.stderr
  const patiently = within({ words, stderr: stderrNow, patience: options.patience ?? patience })
  const ended = patiently("did not end", Deferred.await(over))
  const line = (pattern: RegExp) =>
    patiently(`wrote no line ${pattern}`, lineOf({ stderr: stderrNow, readers, over, words }, pattern))

  const running: Running = {
    pid: pid ?? 0,
    stderr: Effect.sync(stderrNow),
    line,
    listening: Effect.asVoid(line(/gateway listening on /)),
    ended,
    signal: (signal) =>
      Effect.sync(() => {
        if (!isOver(child)) child.kill(signal)
      })
  }
  return { child, ended, running }
}
