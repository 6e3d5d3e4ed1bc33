/**
 * Plays a scenario of an election on simulated hosts, and returns the rules that were broken.
 *
 * The judge does not ask the leaders what they believe. It looks at the journal of the store, at the moments at which work ran, and
 * at the resources.
 */
import { Cause, type Clock, Duration, Effect, Exit, Logger, Option, TestClock, Utils } from "effect"
import { isTagged } from "effect/Predicate"
import { setImmediate } from "node:timers/promises"
import type { HolderPlace } from "../../src/leader/DeathProof.ts"
import * as SimulatedClock from "../../src/testing/SimulatedClock.ts"
import type { SimulatedHost, SimulatedProcess } from "../../src/testing/SimulatedHost.ts"
import type { Fate } from "../../src/testing/SimulatedLeaseStore.ts"
import * as SimulatedScheduler from "../../src/testing/SimulatedScheduler.ts"
import { type Broken, judge, type Loss, type Pause, type Tenure } from "./judge.ts"
import { type Happening, type Scenario, type Service, times, type Victim } from "./scenario.ts"
import type * as Original from "./subject.ts"

export type Subject = typeof Original

const lease = "x"
const restartAfter = 1000
const writeEvery = 1700
const maxRestarts = 8

/** The time after the last event in which one leader must be found. */
export const settlesWithin = times.duration + times.renewDeadline + times.stopTimeout + 3 * times.renewInterval
  + 2 * times.attemptTimeout + restartAfter

/** The lock files of a simulated host. Only the process that has locked the present files may take part. */
interface Locks {
  inode: number
  owner: Actor | undefined
}

interface Machine {
  readonly name: string
  readonly host: SimulatedHost
  locks: Locks
  highest: bigint
}

interface Actor {
  readonly service: Service
  readonly machine: Machine
  process: SimulatedProcess<unknown, unknown> | undefined
  tenure: Tenure | undefined
  readonly pauses: Array<Pause>
}

/** Plays one scenario, and returns the rules that were broken. */
export const simulate = (subject: Subject, scenario: Scenario): Effect.Effect<ReadonlyArray<Broken>> =>
  Effect.suspend(() => {
    const scheduler = SimulatedScheduler.make(scenario.order)
    return play(subject, scenario, scheduler).pipe(
      // Hundreds of scenarios would otherwise run without a turn of the event loop, and messages to the test runner would wait.
      Effect.zipLeft(Effect.promise(() => setImmediate())),
      Effect.withClock(SimulatedClock.make(scheduler)),
      Effect.provide(Logger.remove(Logger.defaultLogger))
    )
  })

/** A clock whose timers run late. */
const lateClock = (clock: Clock.Clock, lateness: () => number): Clock.Clock => ({
  ...clock,
  sleep: (duration) =>
    Effect.zipRight(
      clock.sleep(duration),
      Effect.suspend(() => {
        const late = lateness()
        return late === 0 ? Effect.void : clock.sleep(Duration.millis(late))
      })
    )
})

const play = (subject: Subject, scenario: Scenario, scheduler: SimulatedScheduler.SimulatedScheduler) =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const now = () => clock.unsafeCurrentTimeMillis()
    const random = new Utils.PCGRandom(scenario.order)
    const store = yield* subject.SimulatedLeaseStore.make
    yield* store.setHints(scenario.hints)
    const machines: Array<Machine> = []
    for (const [index, rate] of scenario.rates.entries()) {
      const host = yield* subject.SimulatedHost.make
      yield* host.setClockRate(rate)
      machines.push({ name: String(index), host, locks: { inode: 1, owner: undefined }, highest: 0n })
    }
    const machineOf = (index: number): Machine => {
      const machine = machines[index % machines.length]
      if (machine === undefined) throw new Error("a scenario without hosts")
      return machine
    }

    const tenures: Array<Tenure> = []
    const losses: Array<Loss> = []
    const faults: Array<{ readonly host: string; readonly from: number; readonly to: number }> = []
    const crashes: Array<number> = []
    const broken: Array<Broken> = []
    const actors: Array<Actor> = []
    const resource = store.resource()
    let inodes = 1

    const later = (millis: number, act: Effect.Effect<unknown>) =>
      Effect.sleep(millis).pipe(Effect.zipRight(act), Effect.forkDaemon, Effect.withScheduler(scheduler))
    const disturb = (host: string, millis = 0) => faults.push({ host, from: now(), to: now() + millis })

    // -- statements ---------------------------------------------------------

    const counts = new Map<string, number>()
    const delay = () => scenario.latency === 0 ? 0 : random.integer(scenario.latency + 1)
    yield* store.setIntercept(({ host, name }) => {
      const key = `${host} ${name}`
      const nth = (counts.get(key) ?? 0) + 1
      counts.set(key, nth)
      const usual: Fate = scenario.latency === 0 ? {} : { requestDelay: delay(), answerDelay: delay() }
      const fault = scenario.faults.find((fault) =>
        String(fault.host) === host && fault.name === name && fault.nth === nth
      )
      if (fault !== undefined) disturb(host, 20_000)
      return Effect.succeed({ ...usual, ...fault?.fate })
    })

    // -- processes ----------------------------------------------------------

    const placeOf = ({ locks, name }: Machine): HolderPlace => ({
      bootId: name,
      locks: [{ device: "1", inode: String(locks.inode) }],
      fileSystem: "ext4",
      enforcement: "kernel",
      mode: "run"
    })

    const lateness = () => scenario.lateness > 0 && random.integer(4) === 0 ? random.integer(scenario.lateness + 1) : 0

    /** Writes in the ways that a leader can fence: the messages travel on while its process is stopped or has ended. */
    const write = (actor: Actor, fencingToken: bigint) =>
      Effect.gen(function*() {
        const { machine: { name }, service } = actor
        const travel = random.integer(8) === 0 ? random.integer(6000) : delay()
        yield* later(travel, resource.write(fencingToken)).pipe(Effect.withClock(clock))
        const commit = () => {
          const present = Option.match(store.lease(lease), { onNone: () => 0n, onSome: (lease) => lease.fencingToken })
          if (present > fencingToken) {
            broken.push(`a transaction with ${fencingToken} commits after ${present} was granted`)
          }
        }
        yield* Effect.ignore(
          store.link(name).fencedWrite({ lease, fencingToken, takes: service.writeTakes, commit })
        ).pipe(Effect.forkDaemon)
      })

    const work = (actor: Actor, { check, fencingToken }: Original.Leadership.Leadership["Type"]) =>
      Effect.gen(function*() {
        const tenure: Tenure = {
          host: actor.machine.name,
          fencingToken,
          from: now(),
          to: undefined,
          pauses: actor.pauses
        }
        actor.tenure = tenure
        tenures.push(tenure)
        const act = Effect.zipRight(check, write(actor, fencingToken))
        return yield* Effect.forever(Effect.zipRight(act, Effect.sleep(writeEvery))).pipe(
          // Work that drains goes on writing.
          Effect.onInterrupt(() => Effect.zipRight(Effect.sleep(actor.service.stopTakes), write(actor, fencingToken))),
          Effect.ensuring(Effect.sync(() => {
            tenure.to = now()
          }))
        )
      })

    const program = (actor: Actor) =>
      Effect.gen(function*() {
        const { machine } = actor
        const { locks } = machine
        if (locks.owner !== undefined) return yield* Effect.fail("the lock of the host is held")
        locks.owner = actor
        const place = placeOf(machine)
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => {
            locks.owner = undefined
          })
        )
        const leader = yield* subject.Leadership.make({
          lease: { name: lease, ...times },
          holder: { place },
          provesDeath: ({ place: former }) => Effect.sync(() => isPlace(former) && subject.provesDeath(place, former))
        })
        return yield* leader.whileLeader(work(actor, leader))
      }).pipe(
        Effect.provide(store.link(actor.machine.name).layer),
        Effect.provideService(subject.HighestToken, {
          read: Effect.sync(() => actor.machine.highest),
          raise: (token) =>
            Effect.sync(() => {
              actor.machine.highest = token
            })
        }),
        (program) =>
          scenario.lateness === 0
            ? program
            : Effect.flatMap(Effect.clock, (clock) => Effect.withClock(program, lateClock(clock, lateness)))
      )

    const spawn = (service: Service, restarts: number): Effect.Effect<void> =>
      Effect.gen(function*() {
        const machine = machineOf(service.host)
        const actor: Actor = { service, machine, process: undefined, tenure: undefined, pauses: [] }
        actors.push(actor)
        const process = yield* machine.host.spawn(Effect.scoped(program(actor)))
        actor.process = process
        yield* process.gone.pipe(
          Effect.zipRight(Effect.flatMap(process.poll, (exit) => ended(actor, exit, restarts))),
          Effect.forkDaemon,
          Effect.withScheduler(scheduler)
        )
      })

    const ended = (actor: Actor, exit: Option.Option<Exit.Exit<unknown, unknown>>, restarts: number) =>
      Effect.gen(function*() {
        const { locks, name } = actor.machine
        if (locks.owner === actor) locks.owner = undefined
        if (actor.tenure !== undefined) actor.tenure.to ??= now()
        const error = Option.flatMap(Option.flatMap(exit, Exit.causeOption), Cause.failureOption)
        if (Option.exists(error, isTagged("LeadershipLost"))) {
          losses.push({ host: name, at: now(), error: String(Option.getOrThrow(error)) })
        }
        if (Option.exists(error, isTagged("LeaseUnavailable"))) broken.push(`host ${name}: ${Option.getOrThrow(error)}`)
        if (Option.exists(exit, (exit) => Exit.isFailure(exit) && Option.isSome(Cause.dieOption(exit.cause)))) {
          broken.push(`host ${name}: ${exit}`)
        }
        const isCleanEnd = Option.exists(exit, (exit) => Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause))
        if (!isCleanEnd && restarts < maxRestarts) yield* later(restartAfter, spawn(actor.service, restarts + 1))
      })

    // -- events -------------------------------------------------------------

    const isRunning = ({ process }: Actor) => process?.isRunning() === true
    const leaderOf = () =>
      actors.findLast((actor) => isRunning(actor) && actor.tenure?.to === undefined && actor.tenure !== undefined)
    const find = (victim: Victim): Actor | undefined => {
      const running = actors.filter(isRunning)
      return victim === "leader" ? leaderOf() : running[victim % Math.max(1, running.length)]
    }
    const on = (
      victim: Victim,
      act: (process: SimulatedProcess<unknown, unknown>, actor: Actor) => Effect.Effect<unknown>
    ) =>
      Effect.suspend(() => {
        const actor = find(victim)
        return actor?.process === undefined ? Effect.void : act(actor.process, actor)
      })
    /** A pause of a process can make it act after its deadline. The judge excuses that for as long as work may take to stop. */
    const paused = (victims: ReadonlyArray<Actor>, host: string, millis: number, stopsClock: boolean) => {
      disturb(host, millis)
      for (const { pauses } of victims) pauses.push({ from: now(), to: now() + millis, stopsClock })
    }
    let isRemoved = false
    let removedAt = 0
    const happen = (what: Happening): Effect.Effect<unknown> => {
      switch (what._tag) {
        case "Kill":
          return on(what.victim, (process, actor) => {
            const isLeader = actor.tenure !== undefined && actor.tenure.to === undefined
            if (isLeader && actors.filter(isRunning).length > 1) crashes.push(now())
            return process.kill
          })
        case "Interrupt":
          return on(what.victim, (process) => process.interrupt)
        case "Freeze":
          return on(what.victim, (process, actor) => {
            paused([actor], actor.machine.name, what.millis, false)
            return Effect.zipRight(process.freeze, later(what.millis, process.resume))
          })
        case "PauseHost": {
          const machine = machineOf(what.host)
          paused(actors.filter((actor) => actor.machine === machine), machine.name, what.millis, true)
          return Effect.zipRight(machine.host.pause, later(what.millis, machine.host.unpause))
        }
        case "StepWallClock":
          return machineOf(what.host).host.stepWallClock(Math.abs(what.millis), what.millis < 0 ? "back" : "forward")
        case "Cut": {
          disturb(String(what.host), what.millis)
          const link = store.link(String(what.host))
          return Effect.zipRight(link.cut(what.way), later(what.millis, link.heal))
        }
        case "Down":
          disturb("", what.millis)
          return Effect.zipRight(store.stop, later(what.millis, store.start))
        case "Failover":
          disturb("")
          return store.failover(what.loses)
        case "Upgrade": {
          // A documented limit: an upgrade before the first grant after a failover.
          const entries = store.journal()
          const last = entries.findLast(({ what }) => what === "granted" || what === "failover")
          disturb("")
          return last?.what === "granted" && !isRemoved ? store.upgrade : Effect.void
        }
        case "Remove":
          // After an upgrade, a lease that is created again begins with a lower epoch. Its hosts refuse it then.
          disturb("")
          if (store.journal().some(({ what }) => what === "upgrade")) return Effect.void
          isRemoved = true
          // It waits for fenced writes, which can overlap for long.
          return Effect.tap(store.remove(lease), () =>
            Effect.sync(() => {
              disturb("")
              removedAt = now()
            }))
        case "ReplaceLocks": {
          const machine = machineOf(what.host)
          return Effect.sync(() => {
            machine.locks = { inode: ++inodes, owner: undefined }
          })
        }
        case "Resign":
          disturb("")
          return Option.match(store.lease(lease), {
            onNone: () => Effect.void,
            onSome: ({ fencingToken }) =>
              Effect.ignore(store.link("test").store.requestResign(lease, fencingToken)).pipe(
                Effect.forkDaemon,
                Effect.withScheduler(scheduler)
              )
          })
      }
    }

    for (const service of scenario.services) yield* later(service.at, spawn(service, 0))
    for (const { at, what } of scenario.events) yield* later(at, Effect.suspend(() => happen(what)))
    const begun = Math.max(0, ...scenario.events.map(({ at }) => at), ...scenario.services.map(({ at }) => at))
    // A step of the wall clock is no fault that lasts.
    const spans = scenario.events.map(({ at, what }) =>
      at + ("millis" in what && what._tag !== "StepWallClock" ? what.millis : 0)
    )
    const over = Math.max(20_000, begun, ...spans, ...scenario.faults.map(({ fate }) => isLong(fate) ? 40_000 : 26_000))
    yield* TestClock.adjust(over + settlesWithin)
    // Times have fractions, because clocks run at different speeds. A fraction that is lost to rounding would never pass.
    while (now() < removedAt + settlesWithin) yield* TestClock.adjust(Math.ceil(removedAt + settlesWithin - now()))
    const survivors = actors.filter(isRunning)
    const leaders = survivors.filter(({ tenure }) => tenure !== undefined && tenure.to === undefined)
    if (survivors.length > 0 && leaders.length !== 1) broken.push(`${leaders.length} leaders at the end`)
    // Not killed: a killed process stays in memory as a suspended fiber, with all that it refers to.
    yield* Effect.forEach(survivors, ({ process }) => process?.interrupt ?? Effect.void, { discard: true })
    yield* TestClock.adjust(times.stopTimeout + times.attemptTimeout + 2 * scenario.lateness)
    return [
      ...broken,
      ...judge({ scenario, journal: store.journal(), writes: resource.writes(), tenures, losses, crashes, faults })
    ]
  })

const isLong = ({ requestDelay = 0 }: Fate): boolean => Duration.toSeconds(requestDelay) > 4

const isPlace = (place: unknown): place is HolderPlace =>
  typeof place === "object" && place !== null && "locks" in place
