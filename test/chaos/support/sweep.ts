/**
 * A sweep runs a gateway once for each of its system calls, and tampers with that call. This module contains the parts that all
 * sweeps share: the two lock modes, the files that a run finds at its start, and the checks after each run.
 */
import { assert } from "@effect/vitest"
import { Array, Cause, Effect, Exit, Option, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Clients from "../../e2e/support/clients.ts"
import * as Gateways from "../../e2e/support/gateways.ts"
import * as Ports from "../../e2e/support/ports.ts"
import type * as Processes from "../../e2e/support/processes.ts"
import * as Program from "../../e2e/support/program.ts"
import * as Variants from "../../e2e/support/variants.ts"
import * as Strace from "./strace.ts"

// ---------------------------------------------------------------------------
// the two ways of locking
// ---------------------------------------------------------------------------

export interface Mode {
  readonly name: "kernel lock" | "record only"
  /** The name of the mode in titles. Default: `name`. */
  readonly title?: string
  /**
   * Whether the gateway may make blocking calls, as it does on this file system without a test. A sweep then tampers only with the
   * calls of the main thread. The sweeps of the other modes tamper with all calls, in the thread pool.
   */
  readonly blocks?: boolean
  /** Why the tests of this mode are skipped; `undefined` if they can run. */
  readonly unavailable: string | undefined
  /** The path of the built program that locks in this mode. */
  readonly main: Effect.Effect<string, never, Scope.Scope>
}

export const modes: readonly [kernel: Mode, recordOnly: Mode] = [
  {
    name: "kernel lock",
    unavailable: Strace.unavailable
      ?? (Program.kernelLocks ? undefined : "the program under test has no kernel locks"),
    main: Effect.succeed(Program.main)
  },
  { name: "record only", unavailable: Strace.unavailable, main: Variants.bareProgram }
]

/** The mode of a program on a local file system. */
export const blocking: Mode = { ...modes[0], title: "kernel lock, blocking", blocks: true }

// ---------------------------------------------------------------------------
// the folders and the port of a gateway
// ---------------------------------------------------------------------------

/** The state of the lock folder before a run: empty, or with the lock files of a gateway that was killed. */
export type Scene = "a first start" | "a start after a crash"

export const scenes: ReadonlyArray<Scene> = ["a first start", "a start after a crash"]

/**
 * A gateway's folders and port (`site`), and the path of the program to start (`main`). `reset` restores the files that the
 * gateway finds when it starts.
 */
export interface Stage {
  readonly mode: Mode
  readonly main: string
  readonly site: Gateways.Site
  readonly reset: Effect.Effect<void>
}

const copyFolder = (from: string, to: string) => Effect.promise(() => Fs.cp(from, to, { recursive: true }))

export const removeFolder = (path: string): Effect.Effect<void> =>
  Effect.promise(() => Fs.rm(path, { recursive: true, force: true }))

export const makeStage = (mode: Mode, main: string, scene: Scene): Effect.Effect<Stage, never, Scope.Scope> =>
  Effect.gen(function*() {
    const site = yield* Gateways.newSite
    const remove = removeFolder(site.stateDir)
    if (scene === "a first start") return { mode, main, site, reset: remove }
    const left = Path.join(site.root, "left")
    yield* Effect.scoped(Effect.gen(function*() {
      const gateway = yield* Gateways.startListening(site, { main })
      yield* Gateways.stop(gateway, "SIGKILL")
    }))
    yield* copyFolder(site.stateDir, left)
    return { mode, main, site, reset: Effect.zipRight(remove, copyFolder(left, site.stateDir)) }
  })

/** How many runs go on at one time by default. The number is small, because most runs keep the processor busy. */
const busyLanes = 2

/**
 * Runs `each` once for each point, in several lanes at one time. Each lane has its own folders and its own port. The files of a
 * lane are reset before each run.
 */
export const sweep = <P, A>(
  points: ReadonlyArray<P>,
  stage: Effect.Effect<Stage, never, Scope.Scope>,
  each: (stage: Stage, point: P) => Effect.Effect<A, never, Scope.Scope>,
  lanes = busyLanes
): Effect.Effect<ReadonlyArray<A>, never, Scope.Scope> =>
  Effect.map(
    Effect.forEach(
      Array.range(0, lanes - 1),
      (lane) =>
        Effect.flatMap(stage, (stage) =>
          Effect.forEach(
            points.filter((_, index) => index % lanes === lane),
            (point) => Effect.scoped(Effect.zipRight(stage.reset, each(stage, point)))
          )),
      { concurrency: lanes }
    ),
    Array.flatten
  )

// ---------------------------------------------------------------------------
// runs of a gateway under strace
// ---------------------------------------------------------------------------

/** Waits until the gateway listens or ends. Returns whether it listens. */
export const cameToListen = ({ ended, listening }: Processes.Running): Effect.Effect<boolean> =>
  Effect.raceFirst(Effect.as(ended, false), Effect.map(Effect.exit(listening), Exit.isSuccess))

/** Starts a gateway of the stage under strace. */
export const startTraced = (
  { main, mode, site }: Stage,
  ...tracing: Strace.Tracing
): Effect.Effect<Processes.Running, never, Scope.Scope> => {
  const { env, ...options } = Strace.options(site, ...tracing)
  const { POOLED_FILES: _, ...blockingEnv } = env
  return Effect.zipRight(
    removeFolder(Strace.logPath(site)),
    Gateways.start(site, { main, ...options, env: mode.blocks === true ? blockingEnv : env })
  )
}

/** An effect that runs while the gateway listens. The gateway gets a SIGTERM only when this effect has completed. */
export type Visit<A> = (gateway: Processes.Running) => Effect.Effect<A>

/** Runs a gateway under strace from its start to its end. `visited` is `None` if the gateway never listened. */
export const runTraced = <A>(stage: Stage, visit: Visit<A>, ...tracing: Strace.Tracing) =>
  Effect.scoped(Effect.gen(function*() {
    const gateway = yield* startTraced(stage, ...tracing)
    const visited = (yield* cameToListen(gateway)) ? Option.some(yield* visit(gateway)) : Option.none<A>()
    if (Option.isSome(visited)) yield* gateway.signal("SIGTERM")
    const ended = yield* gateway.ended
    return { visited, ended, pid: gateway.pid, calls: yield* Strace.readLog(Strace.logPath(stage.site)) }
  }))

/** Calls that every gateway makes. If the log of a run lacks one of them, strace has not traced the gateway. */
const landmarks: Record<Strace.Filter, ReadonlyArray<string>> = {
  files: ["pwrite64 config lock", "ftruncate state lock", "unlink config lock", "unlink state lock"],
  sockets: ["connect port", "bind port", "listen port"]
}

/** Records the system calls of a gateway from its start to its end, without tampering with a call. */
export const watch = (stage: Stage, filter: Strace.Filter, visit: Visit<void> = () => Effect.void) =>
  Effect.gen(function*() {
    yield* stage.reset
    const { calls, ended, pid } = yield* runTraced(stage, visit, filter)
    yield* Gateways.assertGone(stage.site, ended)
    const all = Strace.pointsOf(stage.site, filter, calls)
    const points = stage.mode.blocks === true ? all.filter(({ thread }) => thread === String(pid)) : all
    assert.includeMembers(all.map(({ label }) => label), [...landmarks[filter]])
    return points
  })

/** A run that does not reach the system call to tamper with is repeated. After this many such runs, the test gives up. */
export const tries = 3

/** Starts a gateway and kills it at the system call `point`. */
export const killAt = (stage: Stage, point: Strace.Point): Effect.Effect<void> =>
  Effect.gen(function*() {
    for (let run = 1; run <= tries; run++) {
      if (run > 1) yield* stage.reset
      const { calls, ended } = yield* runTraced(stage, () => Effect.void, point.filter, { point, tamper: Strace.kill })
      if (ended.signal === "SIGKILL" && Strace.findHit(stage.site, point, Strace.kill, calls) !== undefined) return
    }
    return yield* Effect.dieMessage(`not reached in ${tries} runs`)
  })

// ---------------------------------------------------------------------------
// checks after a run
// ---------------------------------------------------------------------------

/** The names of the files in the lock folder, without the two lock files. */
export const strays = (site: Gateways.Site): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(Gateways.namesIn(Gateways.locksFolder(site)), Array.difference(Gateways.lockNames(site)))

/** Checks that the gateway answers requests, and that both lock files name this gateway as the owner. */
export const assertOwns = (site: Gateways.Site, gateway: Processes.Running): Effect.Effect<void> =>
  Effect.gen(function*() {
    const served = yield* Clients.instanceIdOf(site)
    for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
      const { instanceId, phase, pid } = yield* Gateways.readRecord(path)
      assert.deepStrictEqual({ path, instanceId, phase, pid }, {
        path,
        instanceId: served,
        phase: "listening",
        pid: gateway.pid
      })
    }
  })

/** Sets the times of all files in the lock folder back by an hour. */
export const letAnHourPass = (site: Gateways.Site): Effect.Effect<void> =>
  Effect.flatMap(Gateways.namesIn(Gateways.locksFolder(site)), (names) =>
    Effect.promise(async () => {
      for (const name of names) {
        const path = Path.join(Gateways.locksFolder(site), name)
        const then = (await Fs.stat(path)).mtimeMs / 1000 - 3600
        await Fs.utimes(path, then, then)
      }
    }))

/** The sizes of the files in a folder. */
export const sizesIn = (folder: string): Effect.Effect<ReadonlyArray<number>> =>
  Effect.flatMap(Gateways.namesIn(folder), (names) =>
    Effect.promise(async () => {
      const sizes: Array<number> = []
      for (const name of names) sizes.push((await Fs.stat(Path.join(folder, name))).size)
      return sizes
    }))

/**
 * Whether a file in the lock folder is empty. Without kernel locks, an empty lock file may belong to a start that is about to write
 * its record. So the next start takes over an empty file only once the file is old.
 */
export const isUndecided = (site: Gateways.Site): Effect.Effect<boolean> =>
  Effect.map(sizesIn(Gateways.locksFolder(site)), (sizes) => sizes.includes(0))

/** Checks that the port of a site is free. */
export const assertPortFree = (site: Gateways.Site): Effect.Effect<void> =>
  Effect.map(Ports.isFree(site.port), (free) => assert.isTrue(free, `port ${site.port} is still taken`))

const stop = (site: Gateways.Site, gateway: Processes.Running): Effect.Effect<Processes.Ended> =>
  Effect.gen(function*() {
    const ended = yield* Gateways.stop(gateway)
    yield* Gateways.assertClean(ended)
    yield* assertPortFree(site)
    return ended
  })

/**
 * Checks that the next start of a gateway succeeds without manual help, serves alone, and removes its files when it ends.
 *
 * The start must succeed at once, with one exception. Without kernel locks, an empty lock file may belong to another start that is
 * in progress. So the start may be refused because of an empty file, but must succeed once that file is an hour old.
 *
 * A gateway may have died while it reclaimed the lock of a dead owner. The files that it left beside the lock files may stay,
 * because they block no start.
 */
export const assertNextStartSucceeds = ({ main, mode, site }: Stage): Effect.Effect<string> =>
  Effect.scoped(Effect.gen(function*() {
    const before = yield* strays(site)
    for (const stray of before) {
      // With kernel locks, a start creates a claim (a file that reserves the lock), and then takes over the lock file of a dead
      // owner in place. So with kernel locks, no lock file is moved aside under the name `.stale`.
      const kinds = mode.name === "record only" ? "reclaim|stale|draft" : "reclaim|draft"
      // A start writes a claim under a draft name first, as it does with a lock file. So the draft of a claim may be left too.
      assert.match(stray, new RegExp(`\\.lock(\\.[0-9a-f]{16}\\.reclaim)*\\.[0-9a-f]{16}\\.(${kinds})$`))
    }
    const start = (flags: ReadonlyArray<string>) => Gateways.start(site, { main, flags })
    const early = yield* start((yield* isUndecided(site)) ? ["--lock-timeout", "0 millis"] : [])
    const atOnce = yield* cameToListen(early)
    if (!atOnce) {
      const ended = yield* early.ended
      assert.strictEqual(mode.name, "record only", ended.stderr)
      assert.strictEqual(ended.code, 1, ended.stderr)
      assert.match(ended.stderr, /^GatewayLockError: gateway already running.*; lock timeout after 0ms$/m)
      yield* letAnHourPass(site)
    }
    const next = atOnce ? early : yield* start([])
    yield* next.listening
    yield* assertOwns(site, next)
    const ended = yield* stop(site, next)
    if (atOnce) assert.strictEqual(Gateways.count(ended.stderr, /waiting up to/), 0, ended.stderr)
    const after = yield* Gateways.namesIn(Gateways.locksFolder(site))
    assert.deepStrictEqual(Array.difference(after, before), [])
    return `next start ${atOnce ? "at once" : "once stale"}${
      after.length > 0 ? ", beside a dead reclaimer's files" : ""
    }`
  }))

// ---------------------------------------------------------------------------
// the results of a sweep
// ---------------------------------------------------------------------------

export type Result =
  | { readonly _tag: "Passed"; readonly outcome: string }
  | { readonly _tag: "Failed"; readonly what: string }

/** Runs one check of a sweep. A failed assertion becomes a `Failed` result, so that all failures are reported together at the end. */
export const result = <R>(what: string, outcome: Effect.Effect<string, never, R>): Effect.Effect<Result, never, R> =>
  Effect.match(Effect.sandbox(outcome), {
    onSuccess: (outcome): Result => ({ _tag: "Passed", outcome }),
    onFailure: (cause): Result => ({ _tag: "Failed", what: `${what}: ${Cause.pretty(cause)}` })
  })

/** The summary of a sweep: one line for each outcome, with the number of results that have this outcome. */
export const summary = (title: string, results: ReadonlyArray<Result>): string => {
  const outcomes = results.map((result) => result._tag === "Passed" ? result.outcome : "FAILED")
  const counts = Object.entries(Array.groupBy(outcomes, (outcome) => outcome))
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([outcome, all]) => `${String(all.length).padStart(7)}  ${outcome}`)
  return [`${title}: ${results.length}`, ...counts].join("\n")
}

/** Prints the summary of the results, and fails if one of the results is `Failed`. */
export const conclude = (title: string, results: ReadonlyArray<Result>): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* Effect.sync(() => process.stdout.write(`${summary(title, results)}\n`))
    const failed = results.flatMap((result) => result._tag === "Failed" ? [result.what] : [])
    assert.deepStrictEqual(failed, [])
  })
