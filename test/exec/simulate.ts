/**
 * Plays a scenario of `gateway exec` on a simulated host. The judge looks only at the simulated kernel: at processes, open files,
 * kernel locks and signals. It does not ask `exec` what it believes.
 */
import { FileSystem } from "@effect/platform"
import { Cause, Duration, Effect, Exit, Layer, Logger, LogLevel, Option, type Scope, TestClock } from "effect"
import { hasProperty, isTagged } from "effect/Predicate"
import { setImmediate } from "node:timers/promises"
import type { ExecCommandLine } from "../../src/cli/CommandLine.ts"
import { KernelLock } from "../../src/host/KernelLock.ts"
import * as LeaseTimes from "../../src/leader/LeaseTimes.ts"
import { defaults as listening } from "../../src/server/ListenerOptions.ts"
import { InheritableSockets } from "../../src/server/node/InheritableSocket.ts"
import type { GatewayConfig } from "../../src/settings/GatewayConfig.ts"
import { defaults as recovering } from "../../src/supervisor/RecoveryOptions.ts"
import * as SimulatedClock from "../../src/testing/SimulatedClock.ts"
import type * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import { dead } from "../../src/testing/SimulatedKernel.ts"
import type { ProgramProcess } from "../../src/testing/SimulatedPrograms.ts"
import * as SimulatedScheduler from "../../src/testing/SimulatedScheduler.ts"
import {
  afterSpawn,
  type Behaviour,
  type Command,
  type Contender,
  type Fault,
  type Happening,
  type Scenario,
  usual
} from "./scenario.ts"
import type * as Original from "./subject.ts"

export type Subject = typeof Original

const port = 18789
const address = { host: "127.0.0.1", port }
const place = { stateDir: "/state", configPath: "/config/gateway.json" }
const stopTimeout = Duration.seconds(10)

/** How long a stop may take: the time after SIGTERM, the check for daemons, and the time after SIGKILL, with some polls. */
const stopBound = Duration.toMillis(stopTimeout) + 100 + 2000 + 200

const configOf = ({ timeout }: Contender, lock: Omit<GatewayConfig["lock"], "timeout">): GatewayConfig => ({
  ...address,
  ...place,
  hostSource: "the default",
  profile: "default",
  configName: place.configPath,
  configSource: "the default",
  isConfigStream: false,
  // Fewer attempts than by default, because each takes processor time.
  lock: { ...lock, timeout: Duration.millis(timeout), pollInterval: Duration.millis(500) },
  health: { ...recovering.health, probeTimeout: Duration.seconds(1) },
  supervisor: "none",
  drainTimeout: Duration.seconds(10),
  token: Option.none(),
  tokenFile: Option.none(),
  allowedHosts: [],
  allowedOrigins: [],
  limits: listening.limits,
  lease: { ...LeaseTimes.defaults, url: Option.none(), urlFile: Option.none(), name: "default" },
  logFormat: Option.none(),
  logLevel: LogLevel.Info
})

const commandLineOf = (contender: Contender, index: number): ExecCommandLine => ({
  _tag: "Exec",
  flags: new Map(),
  words: ["server", String(index)],
  standby: contender.isStandby,
  ensure: false,
  force: false,
  hasPort: contender.hasPort,
  toGroup: contender.toGroup,
  inheritsLock: contender.inheritsLock,
  diesWithWrapper: false,
  ownFlags: [],
  listens: false,
  ready: undefined,
  startTimeout: undefined,
  stopTimeout: undefined,
  conflictStatus: undefined
})

/** `gateway exec` as the shipped program runs it, after the settings are known. */
const program = (subject: Subject, contender: Contender, index: number, onLost: () => void) => {
  const config = configOf(contender, subject.LockFile.defaults.lock)
  const mustListen = contender.mustListen && contender.hasPort
  const rule = { name: contender.hasPort ? "port" : "none", hasNotified: Effect.succeed(false) } as const
  return subject.execWith(
    {
      config,
      options: { standby: contender.isStandby },
      verdict: { kind: "none", reason: "simulated" },
      systemd: { notify: () => Effect.succeed(true), watchdog: Option.none() },
      address,
      passedSocket: undefined,
      beforeWaiting: Effect.void
    },
    commandLineOf(contender, index),
    mustListen
      ? { ready: Option.some("port"), startTimeout: Duration.seconds(8), stopTimeout }
      : { ready: Option.none(), startTimeout: Duration.minutes(1), stopTimeout },
    {},
    rule
  ).pipe(
    // No contender has `--listen`, so no socket is bound.
    Effect.provideService(InheritableSockets, { bind: () => Effect.dieMessage("no scenario passes sockets") }),
    Effect.provide(
      Logger.replace(
        Logger.defaultLogger,
        Logger.make(({ message }) => {
          if (String(message).startsWith("lost gateway lock")) onLost()
        })
      )
    )
  )
}

/** A wrapper, its command, and what the judge knows about them. */
interface Actor {
  readonly contender: Contender
  readonly process: SimulatedHost.SimulatedProcess<unknown, unknown>
  /** The command itself. */
  child: ProgramProcess | undefined
  /** All processes of the command, the command itself first. */
  readonly tree: Array<{ readonly process: ProgramProcess; readonly isDaemon: boolean }>
  /** Whether the wrapper holds both kernel locks, and which stranger had the port when it acquired them. */
  holds: boolean
  strangerAtAcquire: number | undefined
  lostAt: number | undefined
  wasSuspended: boolean
  wasKilled: boolean
  /** How often the command must get the signals of keys, and how often it may get them more. */
  readonly keys: { must: number; may: number }
}

/** Plays one scenario, and returns the rules that were broken. */
export const simulate = (subject: Subject, scenario: Scenario): Effect.Effect<ReadonlyArray<string>> =>
  Effect.suspend(() => {
    const scheduler = SimulatedScheduler.make(scenario.order)
    return Effect.scoped(play(subject, scenario, scheduler)).pipe(
      // Hundreds of scenarios would otherwise run without a turn of the event loop, and messages to the test runner would wait.
      Effect.zipLeft(Effect.promise(() => setImmediate())),
      Effect.withClock(SimulatedClock.make(scheduler))
    )
  })

const play = (
  subject: Subject,
  scenario: Scenario,
  scheduler: SimulatedScheduler.SimulatedScheduler
): Effect.Effect<ReadonlyArray<string>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const host = yield* subject.SimulatedHost.makeWith({ scheduler })
    const clock = yield* Effect.clock
    const now = () => clock.unsafeCurrentTimeMillis()
    yield* host.setLocking(scenario.locking)
    yield* Effect.orDie(host.files.makeDirectory(place.stateDir))
    const lockPaths = [subject.LockFile.configLockPath(place), subject.LockFile.stateLockPath(place)]

    const cast: Array<Actor> = []
    const broken = new Set<string>()
    const stoppers = new Set<number>()
    /** Whether another program has replaced the lock file. From then on, locks do not exclude. */
    let isTampered = false
    let calmed = false
    let strangers = 0
    let stranger: number | undefined

    const later = (millis: number, act: Effect.Effect<unknown>) =>
      Effect.sleep(millis).pipe(Effect.zipRight(act), Effect.forkDaemon, Effect.withScheduler(scheduler))

    // -- the judge ----------------------------------------------------------

    const isExecuting = ({ child }: Actor) => child?.isRunning() === true
    const name = ({ process }: Actor) => `#${process.serial}`
    /** Whether the command keeps the locks by itself, even if its wrapper is killed. */
    const keepsLock = ({ contender: { command, inheritsLock } }: Actor) => inheritsLock && !command.closesFiles
    const isKernel = scenario.locking === "works"

    /** Whether nothing but a dead wrapper stood between this command and the next start. */
    const isUnguarded = (actor: Actor) => isKernel && !actor.process.isRunning() && !keepsLock(actor)

    const judge = () => {
      const holders = lockPaths.map((path) => host.lockHolders(path))
      const holdsBoth = (pid: number) => holders.every((pids) => pids.includes(pid))
      const executing = cast.filter(isExecuting)
      const guarded = executing.filter((actor) => !isUnguarded(actor))
      if (!isTampered && guarded.length > 1) broken.add(`${guarded.map(name).join(" and ")} run a command at one time`)
      for (const actor of cast) {
        const holds = holdsBoth(actor.process.pid)
        if (holds && !actor.holds) actor.strangerAtAcquire = stranger
        actor.holds = holds
        if (actor.lostAt !== undefined && now() > actor.lostAt + stopBound) judgeLoss(actor)
        if (isTampered || !isKernel || !isExecuting(actor)) continue
        const locked = keepsLock(actor)
          ? holdsBoth(actor.child?.pid ?? 0)
          : !actor.process.isRunning() || holds
        if (!locked) broken.add(`the command of ${name(actor)} runs without the lock`)
      }
    }

    /** The processes of a command that must have ended when its wrapper has stopped it. */
    const leftOf = (actor: Actor) =>
      actor.tree.filter(({ isDaemon, process }) =>
        process.isRunning() && !process.isBlocked() && ((keepsLock(actor) && isKernel) || !isDaemon)
      )

    const onLost = (actor: () => Actor | undefined) => () => {
      const found = actor()
      if (found === undefined) return
      found.lostAt ??= now()
    }

    const judgeLoss = (actor: Actor) => {
      const isDelayed = actor.contender.faults.some(({ fate }) => fate._tag === "Delay")
      if (actor.wasSuspended || actor.wasKilled || isDelayed) return
      if (leftOf(actor).length > 0) broken.add(`the command of ${name(actor)} outlives the lost lock`)
    }

    // -- the programs -------------------------------------------------------

    const behave = (process: ProgramProcess, { lifetime, termDelay }: Behaviour, end: Effect.Effect<void>) =>
      Effect.gen(function*() {
        if (termDelay === undefined) process.onSignal("SIGTERM", Effect.void)
        else if (termDelay > 0) process.onSignal("SIGTERM", Effect.zipRight(Effect.sleep(termDelay), end))
        if (lifetime === undefined) return yield* dead
        yield* Effect.sleep(lifetime)
        yield* end
        return yield* dead
      })

    const serve = (actor: Actor, process: ProgramProcess, command: Command) =>
      Effect.gen(function*() {
        const { blocked, diesBy, heirs, listensAfter, status } = command
        if (command.closesFiles) yield* process.closeFiles
        if (command.ignoresKeys) {
          process.onSignal("SIGINT", Effect.void)
          process.onSignal("SIGQUIT", Effect.void)
        }
        process.onSignal("SIGHUP", Effect.void)
        process.onSignal("SIGUSR1", Effect.void)
        for (const { isDaemon, ...behaviour } of heirs) {
          const heir = yield* process.fork((heir) => behave(heir, behaviour, heir.exit(0)), {
            newSession: isDaemon,
            orphan: isDaemon
          })
          actor.tree.push({ process: heir, isDaemon })
        }
        if (blocked !== undefined) {
          yield* Effect.forkDaemon(Effect.zipRight(Effect.sleep(blocked.at), process.block(blocked.millis)))
        }
        if (listensAfter !== undefined && actor.contender.hasPort) {
          yield* Effect.forkDaemon(Effect.zipRight(Effect.sleep(listensAfter), Effect.ignore(process.listen(address))))
        }
        return yield* behave(process, command, diesBy === undefined ? process.exit(status) : process.raise(diesBy))
      })

    host.programs.install("server", (process, { args }) =>
      Effect.suspend(() => {
        const actor = cast[Number(args[0])]
        if (actor === undefined) return Effect.succeed(1)
        actor.child = process
        actor.tree.push({ process, isDaemon: false })
        if (isKernel && actor.contender.hasPort && stranger !== undefined && actor.strangerAtAcquire === stranger) {
          broken.add(`${name(actor)} started its command although its port was taken when it acquired the lock`)
        }
        return serve(actor, process, actor.contender.command)
      }))

    // -- system calls -------------------------------------------------------

    const listenAsStranger = (millis: number) =>
      Effect.gen(function*() {
        const id = ++strangers
        stranger = id
        yield* Effect.scoped(
          Effect.zipRight(
            host.ports.foreign(address, { _tag: "Answers", status: 200, body: "" }),
            Effect.sleep(millis)
          )
        ).pipe(
          Effect.ignore,
          Effect.ensuring(Effect.sync(() => {
            if (stranger === id) stranger = undefined
          })),
          Effect.forkDaemon,
          Effect.withScheduler(scheduler)
        )
        yield* Effect.repeatN(Effect.yieldNow(), 3)
      })

    const kill = (actor: Actor) =>
      Effect.suspend(() => {
        actor.wasKilled = true
        return actor.process.kill
      })

    const suffer = (actor: Actor, { fate }: Fault): Effect.Effect<Option.Option<string>> => {
      switch (fate._tag) {
        case "Kill":
          return Effect.as(kill(actor), Option.none())
        case "Delay":
          return Effect.as(Effect.sleep(fate.millis), Option.none())
        case "Stranger":
          return Effect.as(listenAsStranger(20_000), Option.none())
        case "Full":
          return Effect.sync(() => {
            full.add(actor.process.serial)
            return Option.none()
          })
      }
    }

    /** The wrappers for which the disk is full, by serial number. */
    const full = new Set<number>()
    const calls = new Map<string, number>()
    yield* host.setIntercept(({ name: call, serial, target }) => {
      judge()
      const actor = cast.find(({ process }) => process.serial === serial)
      if (stoppers.has(serial) && call === "kill") {
        const killed = cast.find(({ process: { pid } }) => target === `${pid} SIGKILL`)
        // A command that no record names is found only by the lock that it has inherited, after the end of its wrapper.
        const isHidden = killed !== undefined && full.has(killed.process.serial)
        if (killed?.child?.isRunning() === true && !killed.child.isBlocked() && !isHidden) {
          broken.add(`a stop kills ${name(killed)} before its command`)
        }
        if (killed !== undefined) killed.wasKilled = true
      }
      if (actor === undefined || calmed || actor.contender.faults.length === 0) return Effect.succeedNone
      const hasSpawned = calls.has(`${serial} spawn`)
      const counts = new Map(["", call, ...(hasSpawned ? [afterSpawn] : [])].map((key) => {
        const count = (calls.get(`${serial} ${key}`) ?? 0) + 1
        calls.set(`${serial} ${key}`, count)
        return [key, count]
      }))
      const fault = actor.contender.faults.find((fault) => fault.call === counts.get(fault.name ?? ""))
      const suffered = fault === undefined ? Effect.succeedNone : suffer(actor, fault)
      return Effect.map(
        suffered,
        Option.orElse(() =>
          call === "write" && target !== "gate" && full.has(serial) ? Option.some("ENOSPC") : Option.none()
        )
      )
    })

    // -- wrappers -----------------------------------------------------------

    const spawn = (contender: Contender) =>
      Effect.gen(function*() {
        const index = cast.length
        const lost = onLost(() => cast[index])
        const process = yield* host.spawnParent(program(subject, contender, index, lost), {
          hasTerminal: contender.hasTerminal,
          command: "gateway"
        })
        const actor: Actor = {
          contender,
          process,
          child: undefined,
          tree: [],
          holds: false,
          strangerAtAcquire: undefined,
          lostAt: undefined,
          wasSuspended: false,
          wasKilled: false,
          keys: { must: 0, may: 0 }
        }
        cast.push(actor)
        yield* Effect.forkDaemon(Effect.zipRight(process.gone, judgeEnd(actor))).pipe(Effect.withScheduler(scheduler))
        return actor
      })

    /** Judges the end of a wrapper: its exit status, and what it leaves behind. */
    const judgeEnd = (actor: Actor) =>
      Effect.gen(function*() {
        const { child, contender, process } = actor
        if (actor.wasKilled) return
        const exit = yield* process.exit
        const ended = child?.ended() ?? Option.none()
        const lost = actor.lostAt !== undefined
        if (Exit.isFailure(exit)) {
          const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
          const isLate = isTagged(error, "NotReady") && contender.mustListen
          if ((isTagged(error, "LockLost") && lost) || isLate) return judgeLeft(actor, true)
          const isRefusal = isTagged(error, "PortInUse") || isTagged(error, "LockHeld")
            || (isTagged(error, "LockUnavailable") && full.has(process.serial))
          if (!isRefusal || child !== undefined) broken.add(`${name(actor)} ended: ${Cause.pretty(exit.cause)}`)
          return
        }
        judgeLeft(actor, lost)
        if (child === undefined) return
        const { value } = exit
        const isSame = Option.exists(ended, (ended) =>
          ended._tag === "Exited"
            ? isTagged(value, "Answered") && hasProperty(value, "status") && value.status === ended.status
            : isTagged(value, "EndedBySignal") && hasProperty(value, "signal") && value.signal === ended.signal)
        if (!isSame) broken.add(`${name(actor)} ended otherwise than its command`)
      })

    const judgeLeft = (actor: Actor, wasStopped: boolean) => {
      // A command may leave processes behind when it ends by itself. They are found by the kernel lock that they have inherited.
      if (!wasStopped && !(keepsLock(actor) && isKernel)) return
      if (leftOf(actor).length > 0) broken.add(`${name(actor)} ended before all processes of its command`)
    }

    // -- events -------------------------------------------------------------

    const running = () => cast.filter(({ process }) => process.isRunning())
    const toVictim = (victim: number, act: (actor: Actor) => Effect.Effect<unknown>) => {
      const actor = running()[victim % Math.max(1, running().length)]
      return actor === undefined ? Effect.void : act(actor)
    }
    const toGroup = (actor: Actor, signal: NodeJS.Signals) =>
      Effect.zipRight(host.programs.foreground(actor.process.pid), host.programs.press(signal))
    const isKey = (signal: NodeJS.Signals) => signal === "SIGINT" || signal === "SIGQUIT"

    const intrude = (millis: number) =>
      host.spawn(
        Effect.gen(function*() {
          const fs = yield* FileSystem.FileSystem
          const [path = ""] = lockPaths
          yield* fs.remove(path, { force: true })
          const file = yield* fs.open(path, { flag: "wx+", mode: 0o600 })
          yield* Effect.flatMap(KernelLock, ({ tryLock }) => tryLock(file.fd))
          yield* Effect.sleep(millis)
        }).pipe(Effect.ignore),
        { command: "intruder" }
      )

    const stop = (force: boolean) =>
      Effect.gen(function*() {
        const [path = ""] = lockPaths
        const stopper = yield* host.spawn(
          subject.StopOwner.stop({ path, address, profile: "default", timeout: Duration.seconds(5), force }).pipe(
            Effect.provide(subject.PortProbe.layer.pipe(Layer.provide(subject.HealthProbe.layer()))),
            Effect.ignore
          )
        )
        stoppers.add(stopper.serial)
      })

    const happen = (what: Happening): Effect.Effect<unknown> => {
      switch (what._tag) {
        case "Signal":
          return toVictim(what.victim, (actor) => {
            const { contender, process } = actor
            // In a terminal's foreground, a wrapper relays no signal of a key.
            if (isKey(what.signal) && !contender.hasTerminal) actor.keys.may += 1
            return Effect.zipRight(host.programs.foreground(process.pid), host.programs.kill(process.pid, what.signal))
          })
        case "Key":
          return toVictim(what.victim, (actor) => {
            if (!actor.contender.hasTerminal) return Effect.void
            if (isExecuting(actor)) actor.keys.must += 1
            return toGroup(actor, what.signal)
          })
        case "Suspend":
          return toVictim(what.victim, (actor) => {
            if (!actor.contender.hasTerminal) return Effect.void
            actor.wasSuspended = true
            return Effect.zipRight(toGroup(actor, "SIGTSTP"), later(what.millis, toGroup(actor, "SIGCONT")))
          })
        case "KillWrapper":
          return toVictim(what.victim, kill)
        case "KillCommand":
          return toVictim(
            what.victim,
            ({ child }) => child === undefined ? Effect.void : host.programs.kill(child.pid, what.signal)
          )
        case "Unlink":
          isTampered = true
          return Effect.orDie(host.files.remove(lockPaths[0] ?? "", { force: true }))
        case "Lose":
          if (!isKernel) return Effect.void
          isTampered = true
          return intrude(what.millis)
        case "Stop":
          return stop(what.force)
      }
    }

    // -- the play itself ----------------------------------------------------

    const advance = (millis: number) => Effect.zipRight(TestClock.adjust(millis), Effect.sync(judge))
    for (const contender of scenario.contenders) yield* later(contender.at, spawn(contender))
    let at = 0
    for (const event of scenario.events.toSorted((a, b) => a.at - b.at)) {
      yield* advance(event.at - at)
      at = event.at
      yield* happen(event.what)
    }
    // A start waits for the lock for at most 20 seconds, and one of its calls may be delayed.
    yield* advance(Math.max(0, ...scenario.contenders.map((contender) => contender.at - at)) + 25_000)
    calmed = true
    yield* advance(stopBound)

    // -- the state after the play -------------------------------------------

    const isWaiting = ({ child, process, wasSuspended }: Actor) =>
      process.isRunning() && child === undefined && !wasSuspended
    const isTaken = () =>
      host.ports.owners(port).length > 0 || lockPaths.some((path) => host.lockHolders(path).length > 0)
    // A standby looks for the end of an owner every second.
    if (isKernel && !isTaken() && cast.some(isWaiting)) yield* advance(5000)
    for (const actor of cast) {
      if (isWaiting(actor) && !actor.contender.isStandby) broken.add(`${name(actor)} neither ends nor runs`)
      if (isWaiting(actor) && isKernel && !isTaken()) broken.add(`standby ${name(actor)} waits for nobody`)
      const gets = actor.child === undefined ?
        0 :
        host.trace().filter(({ name, serial }) =>
          (name === "gets SIGINT" || name === "gets SIGQUIT") && Option.contains(serial, actor.child?.serial ?? 0)
        ).length
      const { may, must } = actor.keys
      if (gets < must || gets > must + may) {
        broken.add(`the command of ${name(actor)} got ${gets} signals of keys instead of ${must} to ${must + may}`)
      }
    }

    for (const { contender, process } of running()) {
      if (contender.isStandby) yield* host.programs.kill(process.pid, "SIGTERM")
    }
    yield* advance(1000)
    for (const { tree } of cast) for (const { process } of tree) yield* host.programs.kill(process.pid, "SIGKILL")
    yield* advance(25_000)
    for (const actor of running()) broken.add(`${name(actor)} does not end after its command`)
    for (const [serial, count] of host.openFiles()) broken.add(`#${serial} leaves ${count} files open`)

    isTampered = false
    const last = yield* spawn(usual)
    yield* advance(1000)
    if (last.child === undefined) broken.add("after all others, a start does not run its command at once")
    yield* host.programs.kill(last.process.pid, "SIGTERM")
    yield* advance(1000)
    if (last.process.isRunning()) broken.add("after all others, a command that is told to end does not end")

    return [...broken]
  })
