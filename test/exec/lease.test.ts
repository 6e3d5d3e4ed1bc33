/**
 * `gateway exec` with a lease, on several simulated hosts and one simulated store. The judge looks at the simulated kernels alone: a
 * command that runs is one that its host has executed, and that no signal has ended.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, FastCheck as fc, Logger, Option, TestClock } from "effect"
import { setImmediate } from "node:timers/promises"
import { execWith } from "../../src/cli/exec.ts"
import * as Lead from "../../src/exec/Lead.ts"
import { CommandWatchdog } from "../../src/host/CommandWatchdog.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as SimulatedClock from "../../src/testing/SimulatedClock.ts"
import * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import type { SimulatedProcess } from "../../src/testing/SimulatedHost.ts"
import * as SimulatedLeaseStore from "../../src/testing/SimulatedLeaseStore.ts"
import type { ProgramProcess } from "../../src/testing/SimulatedPrograms.ts"
import * as SimulatedScheduler from "../../src/testing/SimulatedScheduler.ts"
import { numRuns } from "../arbitraries.ts"
import { type Contender, usual } from "./scenario.ts"
import { program } from "./simulate.ts"

const lease = "job"
// The defaults: T 15, R 3, Q 2, D 10, S 4 seconds.
const [renewDeadline, stopTimeout] = [10_000, 4000]
const takeover = 15_000 + 3000 + 2000

interface Actor {
  readonly host: string
  readonly process: SimulatedProcess<unknown, unknown>
  command: ProgramProcess | undefined
  token: string | undefined
}

/** How the commands of a scene behave. `ignoresTerm`: they end by SIGKILL alone. */
interface Commands {
  readonly ignoresTerm: boolean
  /** Whether the command starts a process in a session of its own, which has no parent. */
  readonly hasDaemon: boolean
}

const subject = { execWith, LockFile }

const makeScene = (
  { hasDaemon, ignoresTerm }: Commands,
  scheduler: SimulatedScheduler.SimulatedScheduler = SimulatedScheduler.make(0)
) =>
  Effect.gen(function*() {
    const store = yield* SimulatedLeaseStore.make
    const actors: Array<Actor> = []
    const daemons: Array<{ readonly actor: Actor; readonly process: ProgramProcess }> = []
    const hosts = new Map<string, SimulatedHost.SimulatedHost>()
    /** Whether a command began while another one ran. */
    let overlapped = false
    /** The commands that run at this moment, or whose daemon does. */
    const running = () =>
      actors.filter((actor) =>
        actor.command?.isRunning() === true
        || daemons.some((daemon) => daemon.actor === actor && daemon.process.isRunning())
      )
    for (const name of ["one", "two"]) {
      const host = yield* SimulatedHost.makeWith({ scheduler })
      yield* Effect.orDie(host.files.makeDirectory("/state"))
      hosts.set(name, host)
      host.programs.install("server", (process, { args, env }) =>
        Effect.gen(function*() {
          const actor = actors[Number(args[0])]
          if (actor === undefined) return 1
          actor.command = process
          overlapped ||= running().length > 1
          actor.token = env["GATEWAY_FENCING_TOKEN"]
          if (ignoresTerm) process.onSignal("SIGTERM", Effect.void)
          if (hasDaemon) {
            const daemon = yield* process.fork(() => Effect.never, { newSession: true, orphan: true })
            daemons.push({ actor, process: daemon })
          }
          return yield* Effect.never
        }))
    }
    const hostOf = (name: string) => {
      const host = hosts.get(name)
      if (host === undefined) throw new Error(`no host ${name}`)
      return host
    }
    const start = (name: string, contender: Contender = { ...usual, hasPort: false }) =>
      Effect.gen(function*() {
        const index = actors.length
        const process = yield* hostOf(name).spawnParent(
          Effect.flatMap(CommandWatchdog, (watchdogs) =>
            program(subject, contender, index, () => {}, () =>
              Lead.make({ lease: { name: lease } }).pipe(
                Effect.provideService(CommandWatchdog, watchdogs),
                Effect.provide(store.link(name).layer)
              ))),
          { command: "gateway" }
        )
        const actor: Actor = { host: name, process, command: undefined, token: undefined }
        actors.push(actor)
        return actor
      })
    const killCommand = ({ command, host }: Actor) =>
      command === undefined ? Effect.void : hostOf(host).programs.kill(command.pid, "SIGKILL")
    /** The simulated watchdog is the last process that is started before the command. */
    const killWatchdog = ({ command, host }: Actor) =>
      command === undefined ? Effect.void : hostOf(host).programs.kill(command.pid - 1, "SIGKILL")
    return {
      store,
      actors,
      hostOf,
      start,
      running,
      killCommand,
      killWatchdog,
      hasOverlapped: () => overlapped
    }
  })

type Scene = Effect.Effect.Success<ReturnType<typeof makeScene>>

const quiet = Effect.provide(Logger.remove(Logger.defaultLogger))

/** Lets the event loop turn. Simulated time passes without it, and messages to the test runner would wait for the last run. */
const turn = Effect.promise(() => setImmediate())

const scene = (name: string, commands: Partial<Commands>, body: (scene: Scene) => Effect.Effect<void>) =>
  it.effect(name, () =>
    Effect.suspend(() => {
      const scheduler = SimulatedScheduler.make(0)
      return Effect.flatMap(makeScene({ ignoresTerm: false, hasDaemon: false, ...commands }, scheduler), body).pipe(
        Effect.withClock(SimulatedClock.make(scheduler)),
        quiet
      )
    }))

const failureOf = ({ process }: Actor) =>
  Effect.map(
    process.exit,
    (exit) => Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined
  )

/** Starts a leader on the first host, and a candidate on the other one. */
const leaderAndCandidate = ({ running, start }: Scene) =>
  Effect.gen(function*() {
    const leader = yield* start("one")
    yield* TestClock.adjust("20 seconds")
    const candidate = yield* start("two")
    yield* TestClock.adjust("20 seconds")
    assert.deepStrictEqual(running(), [leader])
    return { leader, candidate }
  })

describe("a command that needs a lease", () => {
  scene("runs on one host, and gets the fencing token of its leadership", {}, (scene) =>
    Effect.gen(function*() {
      const { leader } = yield* leaderAndCandidate(scene)
      const granted = scene.store.journal().filter(({ what }) => what === "granted")
      assert.strictEqual(leader.token, String(granted[0]?.fencingToken))
    }))

  scene("ends, and the next host leads at once", {}, (scene) =>
    Effect.gen(function*() {
      const { candidate, leader } = yield* leaderAndCandidate(scene)
      yield* scene.killCommand(leader)
      yield* TestClock.adjust("1 second")
      assert.isFalse(leader.process.isRunning())
      assert.deepStrictEqual(scene.running(), [candidate])
      assert.isAbove(Number(candidate.token), Number(leader.token))
    }))

  scene(
    "is killed by the watchdog when its wrapper is killed, with its daemon",
    { hasDaemon: true },
    (scene) =>
      Effect.gen(function*() {
        const { candidate, leader } = yield* leaderAndCandidate(scene)
        yield* leader.process.kill
        yield* TestClock.adjust("100 millis")
        assert.deepStrictEqual(scene.running(), [])
        yield* TestClock.adjust(Duration.millis(takeover))
        assert.deepStrictEqual(scene.running(), [candidate])
      })
  )

  scene(
    "is killed when its wrapper is stopped for longer than its lease",
    { ignoresTerm: true },
    (scene) =>
      Effect.gen(function*() {
        const { candidate, leader } = yield* leaderAndCandidate(scene)
        yield* leader.process.freeze
        yield* TestClock.adjust(Duration.millis(renewDeadline + stopTimeout))
        assert.deepStrictEqual(scene.running(), [])
        yield* TestClock.adjust(Duration.millis(takeover))
        assert.deepStrictEqual(scene.running(), [candidate])
        yield* leader.process.resume
        yield* TestClock.adjust("1 second")
        assert.isFalse(leader.process.isRunning())
        assert.deepStrictEqual(scene.running(), [candidate])
      })
  )

  scene("gets SIGTERM at the renew deadline, and SIGKILL within the time to stop, whatever --stop-timeout says", {
    ignoresTerm: true
  }, (scene) =>
    Effect.gen(function*() {
      const { leader } = yield* leaderAndCandidate(scene)
      yield* scene.store.link("one").cut()
      yield* TestClock.adjust(Duration.millis(renewDeadline - 3000 - 1000))
      assert.deepStrictEqual(scene.running(), [leader])
      yield* TestClock.adjust(Duration.millis(1000 + 3000 + stopTimeout))
      assert.deepStrictEqual(scene.running(), [])
      yield* TestClock.adjust("1 second")
      assert.propertyVal(yield* failureOf(leader), "_tag", "LeadershipLost")
    }))

  scene("is stopped when its watchdog ends", {}, (scene) =>
    Effect.gen(function*() {
      const { candidate, leader } = yield* leaderAndCandidate(scene)
      yield* scene.killWatchdog(leader)
      yield* TestClock.adjust("1 second")
      assert.propertyVal(yield* failureOf(leader), "_tag", "WatchdogFailed")
      assert.deepStrictEqual(scene.running(), [candidate])
    }))

  scene("is stopped when another process asks the leader to hand over", {}, (scene) =>
    Effect.gen(function*() {
      const { candidate, leader } = yield* leaderAndCandidate(scene)
      yield* scene.store.link("two").store.requestResign(lease, BigInt(leader.token ?? 0)).pipe(Effect.orDie)
      yield* TestClock.adjust("4 seconds")
      assert.propertyVal(yield* failureOf(leader), "_tag", "LeadershipLost")
      assert.deepStrictEqual(scene.running(), [candidate])
    }))

  scene(
    "is not started on a host whose port was taken during the wait, which then leads no longer",
    {},
    (scene) =>
      Effect.gen(function*() {
        const leader = yield* scene.start("one")
        yield* TestClock.adjust("20 seconds")
        const candidate = yield* scene.start("two", usual)
        yield* TestClock.adjust("1 second")
        yield* scene.hostOf("two").ports.foreign({ host: "127.0.0.1", port: 18789 }, {
          _tag: "Answers",
          status: 200,
          body: ""
        }).pipe(Effect.zipRight(Effect.never), Effect.scoped, Effect.ignore, Effect.forkDaemon)
        yield* scene.killCommand(leader)
        yield* TestClock.adjust("1 second")
        assert.isUndefined(candidate.command)
        assert.propertyVal(yield* failureOf(candidate), "_tag", "PortInUse")
        assert.isTrue(Option.exists(scene.store.lease(lease), ({ holderId }) => Option.isNone(holderId)))
      })
  )
})

/** Kills a leader's wrapper before its system call with this number. Returns whether it made that many calls in its start. */
const killedAt = (call: number) =>
  Effect.suspend(() => {
    const scheduler = SimulatedScheduler.make(call)
    return Effect.gen(function*() {
      const { hostOf, running, start } = yield* makeScene({ ignoresTerm: true, hasDaemon: true }, scheduler)
      let calls = 0
      let wrapper: Actor | undefined
      yield* hostOf("one").setIntercept(({ serial }) =>
        Effect.suspend(() => {
          const isKilled = wrapper !== undefined && serial === wrapper.process.serial && ++calls === call
          return Effect.as(isKilled ? wrapper?.process.kill ?? Effect.void : Effect.void, Option.none())
        })
      )
      wrapper = yield* start("one")
      yield* TestClock.adjust("18 seconds")
      assert.isTrue(calls < call || !wrapper.process.isRunning())
      // The watchdog has had time for its work: the start took less than 16 seconds.
      if (calls >= call) assert.deepStrictEqual(running(), [], `killed before call ${call}`)
      return calls >= call
    }).pipe(Effect.zipLeft(turn), Effect.withClock(SimulatedClock.make(scheduler)), quiet)
  })

describe("a wrapper that is killed at any system call of its start", () => {
  it.live("leaves no command", () =>
    Effect.gen(function*() {
      let call = 1
      while (yield* killedAt(call)) call++
      assert.isAbove(call, 20)
    }))
})

// ---------------------------------------------------------------------------
// drawn schedules
// ---------------------------------------------------------------------------

const kinds = [
  "kill wrapper",
  "stop wrapper",
  "terminate wrapper",
  "kill command",
  "cut link",
  "cut requests",
  "cut answers",
  "stop store",
  "resign",
  "start"
] as const

interface Happening {
  readonly at: number
  readonly kind: typeof kinds[number]
  readonly victim: number
  readonly millis: number
}

/** The longest time of a fault. */
const longest = 40_000

const happening: fc.Arbitrary<Happening> = fc.record({
  at: fc.integer({ min: 0, max: 120_000 }),
  kind: fc.constantFrom(...kinds),
  victim: fc.nat({ max: 7 }),
  millis: fc.integer({ min: 0, max: longest })
})

const scenario = fc.record({
  order: fc.integer(),
  commands: fc.record({ ignoresTerm: fc.boolean(), hasDaemon: fc.boolean() }),
  happenings: fc.array(happening, { minLength: 1, maxLength: 12 })
})

type Scenario = typeof scenario extends fc.Arbitrary<infer A> ? A : never

const play = ({ commands, happenings, order }: Scenario): Effect.Effect<ReadonlyArray<string>> =>
  Effect.suspend(() => {
    const scheduler = SimulatedScheduler.make(order)
    return Effect.gen(function*() {
      const scene = yield* makeScene(commands, scheduler)
      const { actors, running, start, store } = scene
      const broken = new Set<string>()
      const later = (millis: number, act: Effect.Effect<unknown>) =>
        Effect.sleep(millis).pipe(Effect.zipRight(act), Effect.forkDaemon, Effect.withScheduler(scheduler))
      const happen = ({ kind, millis, victim }: Happening): Effect.Effect<unknown> => {
        const alive = actors.filter(({ process }) => process.isRunning())
        const actor = alive[victim % Math.max(1, alive.length)]
        const link = store.link(victim % 2 === 0 ? "one" : "two")
        const cut = (way: "requests" | "answers" | "both") => Effect.zipRight(link.cut(way), later(millis, link.heal))
        switch (kind) {
          case "start":
            return start(victim % 2 === 0 ? "one" : "two")
          case "cut link":
            return cut("both")
          case "cut requests":
            return cut("requests")
          case "cut answers":
            return cut("answers")
          case "stop store":
            return Effect.zipRight(store.stop, later(millis, store.start))
          case "resign": {
            const token = Option.match(store.lease(lease), { onNone: () => 0n, onSome: (seen) => seen.fencingToken })
            // Its answer may be lost, and is not awaited.
            return Effect.forkDaemon(Effect.ignore(link.store.requestResign(lease, token)))
          }
          case "kill command":
            return actor === undefined ? Effect.void : scene.killCommand(actor)
          case "kill wrapper":
            return actor?.process.kill ?? Effect.void
          case "terminate wrapper":
            return actor?.process.interrupt ?? Effect.void
          case "stop wrapper":
            return actor === undefined
              ? Effect.void
              : Effect.zipRight(actor.process.freeze, later(millis, actor.process.resume))
        }
      }
      yield* start("one")
      yield* start("two")
      let at = 0
      for (const next of happenings.toSorted((a, b) => a.at - b.at)) {
        yield* TestClock.adjust(next.at - at)
        at = next.at
        yield* happen(next)
      }
      yield* TestClock.adjust(longest)
      // All faults are over now. So a command runs within the time of a takeover.
      yield* start("one")
      yield* start("two")
      yield* TestClock.adjust(2 * takeover)
      if (scene.hasOverlapped()) broken.add("two commands ran at one time")
      if (running().length !== 1) broken.add(`${running().length} commands run after all faults are over`)
      return [...broken]
    }).pipe(Effect.zipLeft(turn), Effect.withClock(SimulatedClock.make(scheduler)), quiet)
  })

describe("commands that need a lease", () => {
  it.live(
    "never run on two hosts at one time, and one runs once all faults are over",
    () =>
      Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(scenario, async (drawn) => {
            assert.deepStrictEqual(await Effect.runPromise(play(drawn)), [])
          }),
          { numRuns: Math.ceil(numRuns / 5) }
        )
      ),
    120_000
  )
})
