/**
 * Kills `gateway exec` at each of its system calls, from the first call on a lock file until the command runs and the record in the
 * lock file says so.
 *
 * A first run, in which strace only records, gives the calls. Then each call gets a run of its own, in which strace kills the
 * wrapper at that call. After each kill, a second `gateway exec` must be refused if the command runs, and must start otherwise.
 *
 * The calls of the wrapper's main thread are traced without a filter. The calls of the other threads are traced if they are on the
 * lock files. Between two calls, another thread changes nothing but its own memory.
 */
import { assert } from "@effect/vitest"
import { Effect, Option } from "effect"
import * as Fs from "node:fs/promises"
import * as Execs from "../../e2e/support/execs.ts"
import * as Gateways from "../../e2e/support/gateways.ts"
import type * as Processes from "../../e2e/support/processes.ts"
import * as Judge from "./execJudge.ts"
import * as Strace from "./strace.ts"
import * as Sweep from "./sweep.ts"

/** A system call of the recorded run. */
export interface Point extends Strace.Point {
  /** Which calls strace counts: all calls of the main thread, or the calls of all threads on the lock files. */
  readonly of: "main thread" | "lock files"
}

/** Why the sweep of a mode cannot run; `undefined` if it can. */
export const unavailable = ({ unavailable }: Sweep.Mode): string | undefined => unavailable ?? Judge.unavailable

const flags = ["--no-port"]

// ---------------------------------------------------------------------------
// strace
// ---------------------------------------------------------------------------

/**
 * Options that start a wrapper of the stage under strace. If `point` is given, strace kills the wrapper there. Otherwise strace
 * records the calls of all threads, and those of the command.
 */
const under = ({ site }: Sweep.Stage, of: Point["of"], point?: Point): Pick<Execs.Options, "under" | "env"> => {
  if (of === "lock files") {
    const options = point === undefined
      ? Strace.options(site, "files")
      : Strace.options(site, "files", { point, tamper: Strace.kill })
    return { env: Strace.environment, under: options.under ?? [] }
  }
  const what = point === undefined
    ? ["-f"]
    : ["-e", `trace=${point.name}`, "-e", `inject=${point.name}:signal=SIGKILL:when=${point.ordinal}`]
  return {
    env: Strace.environment,
    under: ["strace", "-D", "-q", "-yy", "-o", Strace.logPath(site), ...what, "--"]
  }
}

const readLog = (site: Gateways.Site) => Effect.promise(() => Fs.readFile(Strace.logPath(site), "utf8").catch(() => ""))

/** Whether strace killed the wrapper at exactly this call. */
const isHit = (site: Gateways.Site, point: Point): Effect.Effect<boolean> =>
  Effect.map(readLog(site), (log) => {
    // strace names the thread in each line only if it follows more than one.
    const lines = point.of === "lock files" ? log : log.replaceAll(/^(?=.)/gm, "1 ")
    return Strace.findHit(site, point, Strace.kill, Strace.parse(lines)) !== undefined
  })

const start = (stage: Sweep.Stage, of: Point["of"], point?: Point) =>
  Effect.zipRight(
    Sweep.removeFolder(Strace.logPath(stage.site)),
    Judge.start(stage.site, Judge.longLife, { main: stage.main, flags, ...under(stage, of, point) })
  )

// ---------------------------------------------------------------------------
// the recorded run
// ---------------------------------------------------------------------------

/** Whether both lock files say that the command runs. This is the last thing that a start writes. */
const isListening = (site: Gateways.Site): Effect.Effect<boolean> =>
  Gateways.readRecord(Gateways.stateLock(site)).pipe(
    Effect.map(({ phase }) => phase === "listening"),
    Effect.catchAllCause(() => Effect.succeed(false))
  )

const threadsOf = (pid: number) => Effect.promise(() => Fs.readdir(`/proc/${pid}/task`))

const recordCalls = (stage: Sweep.Stage, of: Point["of"]): Effect.Effect<ReadonlyArray<Point>> =>
  Effect.scoped(Effect.gen(function*() {
    const { site } = stage
    yield* stage.reset
    const wrapper = yield* start(stage, of)
    yield* Execs.until("the phase listening", isListening(site))
    const threads = yield* threadsOf(wrapper.pid)
    const child = yield* Judge.childOf(wrapper)
    if (Option.isNone(child)) return yield* Effect.dieMessage("the recorded command did not run")
    yield* Judge.killChild(child.value)
    yield* wrapper.ended
    const log = yield* readLog(site)
    // What follows the end of the command is the release of the lock.
    const calls = Strace.parse(log.split(new RegExp(`^${child.value.pid} \\+\\+\\+ `, "m"), 1)[0] ?? "")
    const isOnLock = ({ text }: Strace.Call) => text.includes(Gateways.locksFolder(site)) && text.includes(".lock")
    const first = calls.findIndex(isOnLock)
    const last = calls.findLastIndex((call) => call.name === "pwrite64" && isOnLock(call))
    const mayCount = (thread: string) => of === "lock files" ? threads.includes(thread) : thread === String(wrapper.pid)
    // Calls of the main thread are not traced by their files, and those on lock files are all made in one thread.
    return Strace.pointsOf(site, "files", calls, false)
      .filter(({ index }) => index >= first && index <= last && mayCount(calls[index]?.thread ?? ""))
      .map((point) => ({ ...point, of }))
  }))

/** The system calls of a start at which the sweep kills the wrapper, in their order. */
export const record = (stage: Sweep.Stage): Effect.Effect<ReadonlyArray<Point>> =>
  Effect.gen(function*() {
    const points = [...yield* recordCalls(stage, "main thread"), ...yield* recordCalls(stage, "lock files")]
    assert.includeMembers(points.map(({ label }) => label), ["pwrite64 config lock", "pwrite64 state lock"])
    return points
  })

// ---------------------------------------------------------------------------
// a run that is killed
// ---------------------------------------------------------------------------

const hurried = { flags: [...flags, "--lock-timeout", "0 millis"] }

/** Runs `gateway exec` as the next start, with a command that ends at once. */
const next = ({ main, site }: Sweep.Stage) => Execs.run(site, Judge.command(0), { main, ...hurried })

/** Checks that the next start runs its command without a wait. */
const assertStarts = (ended: Processes.Ended): void => {
  assert.strictEqual(ended.code, 0, ended.stderr)
  assert.strictEqual(Gateways.count(ended.stderr, /waiting up to/), 0, ended.stderr)
}

/** The record of the lock file. `None` if there is no lock file, or one without a record. */
const recordOf = (site: Gateways.Site) => Effect.option(Effect.sandbox(Gateways.readRecord(Gateways.configLock(site))))

/**
 * Checks a start after the wrapper was killed. If the command runs, the start is refused until the command has ended. Otherwise the
 * start succeeds. Returns what the killed wrapper had done.
 */
const judge = (stage: Sweep.Stage, wrapper: Processes.Running): Effect.Effect<string> =>
  Effect.gen(function*() {
    const { mode, site } = stage
    const left = yield* recordOf(site)
    const names = Option.match(left, {
      onNone: () => "no record",
      onSome: ({ child }) => child === undefined ? "a record without the command" : "a record with the command"
    })
    const [second, child] = yield* Effect.all([next(stage), Judge.childOf(wrapper)], { concurrency: "unbounded" })
    if (Option.isSome(child)) {
      const { pid } = child.value
      assert.strictEqual(second.code, 75, second.stderr)
      assert.isFalse(yield* Execs.hasEnded(pid))
      if (mode.name === "record only") {
        assert.strictEqual(Option.getOrUndefined(left)?.child?.pid, pid, "the record does not name the command")
      }
      yield* Judge.killChild(child.value)
      yield* wrapper.ended
      assertStarts(yield* next(stage))
      return `left ${names}, and the command, which keeps the lock`
    }
    if (second.code === 0) {
      assertStarts(second)
      return `left ${names}: the next start runs at once`
    }
    // Without kernel locks, two things may keep the next start out for a while. One is a lock file without a record, which may belong
    // to a start that is about to write its record. The other is the shell that was to become the command: it lives until it sees
    // that the wrapper has ended.
    assert.deepStrictEqual([mode.name, second.code], ["record only", 75], second.stderr)
    yield* wrapper.ended
    if (yield* Sweep.isUndecided(site)) yield* Sweep.letAnHourPass(site)
    else assert.strictEqual(names, "a record with the command", second.stderr)
    assertStarts(yield* next(stage))
    return `left ${names}: the next start runs a moment later`
  }).pipe(Effect.zipLeft(Judge.assertNeverTwo(stage.site)))

/** How a run ended: what the killed wrapper had done, and whether strace killed the wrapper at exactly the call of the point. */
export interface Outcome {
  readonly left: string
  readonly hit: boolean
}

/** Starts a wrapper, kills it at a system call, and checks the next start. */
const killOnce = (stage: Sweep.Stage, point: Point): Effect.Effect<Outcome> =>
  Effect.scoped(Effect.gen(function*() {
    const { site } = stage
    const wrapper = yield* start(stage, point.of, point)
    // A run may make fewer calls of one name than the recorded run. Then the wrapper is killed here, after its last call.
    yield* Execs.until(
      "the end of the wrapper, or its last call",
      Effect.zipWith(Execs.hasEnded(wrapper.pid), isListening(site), (ended, listening) => ended || listening)
    )
    const reached = yield* Execs.hasEnded(wrapper.pid)
    yield* wrapper.signal("SIGKILL")
    yield* Execs.untilEnded(wrapper.pid)
    const left = yield* judge(stage, wrapper)
    return { left, hit: reached && (yield* isHit(site, point)) }
  }))

/**
 * Kills a wrapper at a system call. The number of calls that Node makes for itself differs a little from run to run, so a run that
 * was killed at another call of the same name is repeated. It is checked all the same.
 */
export const killAt = (stage: Sweep.Stage, point: Point): Effect.Effect<Outcome> =>
  Effect.gen(function*() {
    for (let run = 1; run < Sweep.tries; run++) {
      const outcome = yield* killOnce(stage, point)
      if (outcome.hit) return outcome
      yield* stage.reset
    }
    return yield* killOnce(stage, point)
  })

/** How long strace holds up the command before it is executed, in microseconds. */
const heldUp = 800_000

/** The pids of the processes that a process has started. */
const childrenOf = (pid: number) =>
  Effect.promise(() => Fs.readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => ""))

/**
 * Kills a wrapper while its child exists, but has not yet executed the command. At that time the child still runs the wrapper's own
 * code, with all of the wrapper's open files.
 */
export const killBeforeExec = (stage: Sweep.Stage): Effect.Effect<string> =>
  Effect.scoped(Effect.gen(function*() {
    const { main, site } = stage
    yield* stage.reset
    const inject = `inject=execve:delay_enter=${heldUp}:when=1`
    const wrapper = yield* Judge.start(site, Judge.longLife, {
      main,
      flags,
      under: ["strace", "-D", "-f", "-q", "-o", Strace.logPath(site), "-e", "trace=execve", "-e", inject, "--"]
    })
    // Before this line, the process may have had strace as its child for a moment.
    yield* wrapper.line(Judge.gotTheLock)
    yield* Execs.until("the child", Effect.map(childrenOf(wrapper.pid), (pids) => pids !== ""))
    yield* wrapper.signal("SIGKILL")
    yield* Execs.untilEnded(wrapper.pid)
    return yield* judge(stage, wrapper)
  }))
