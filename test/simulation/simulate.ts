/**
 * Plays a scenario on a simulated host and records a log, which `check` judges.
 */
import { HttpServer, HttpServerResponse } from "@effect/platform"
import { Context, Duration, Effect, type Exit, Layer, Logger, Option, TestClock } from "effect"
import { setImmediate } from "node:timers/promises"
import { defaults } from "../../src/lock/LockFileOptions.ts"
import * as SimulatedClock from "../../src/testing/SimulatedClock.ts"
import type * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import { dead, type TraceEntry } from "../../src/testing/SimulatedKernel.ts"
import * as SimulatedScheduler from "../../src/testing/SimulatedScheduler.ts"
import { type Fate, type Happening, type How, type Scenario, type Starter, usual } from "./scenario.ts"
import type * as Original from "./subject.ts"

export type Subject = typeof Original

// ---------------------------------------------------------------------------
// the log
// ---------------------------------------------------------------------------

/** One entry of the log. The log has its entries in the order in which they happened. */
export type Entry =
  | { readonly _tag: "Traced"; readonly entry: TraceEntry }
  /** The layer of `LockFile` has been built. From here on the process believes that it holds both locks. */
  | { readonly _tag: "Enters"; readonly serial: number; readonly lockPaths: ReadonlyArray<string> }
  /** The layer of `LockFile` is about to be released. From here on the process does not rely on the locks. */
  | { readonly _tag: "Leaves"; readonly serial: number }
  /** An intruder, which is a program that ignores the rules of the lock, has removed or replaced these files. */
  | { readonly _tag: "Tampers"; readonly paths: ReadonlyArray<string> }

export interface Player {
  readonly serial: number
  readonly pid: number
  readonly how: How
  readonly port: number
  readonly networkNamespace: string
  /** How long the process waits for a lock, in milliseconds. */
  readonly timeout: number
  /** Whether the simulation did something to this process that may make it fail, such as an error of one of its calls. */
  readonly failed: boolean
  /** How the program of the process ended. `None` if it was killed or still runs. */
  readonly exit: Option.Option<Exit.Exit<unknown, unknown>>
}

export interface Report {
  readonly log: ReadonlyArray<Entry>
  readonly players: ReadonlyArray<Player>
  /** The serial numbers of the processes that only inspected lock files. */
  readonly inspectors: ReadonlySet<number>
  /** The problems that were found after all starts and events were over. */
  readonly aftermath: ReadonlyArray<string>
}

// ---------------------------------------------------------------------------
// the paths and errors
// ---------------------------------------------------------------------------

const stateDir = "/state"
const locksFolder = "/state/locks"
const configPath = (config: Starter["config"]) => `/config/${config}.json`
const basePort = 18789

/** The errnos with which the simulation lets each system call fail. */
const errnos: Readonly<Record<string, ReadonlyArray<string>>> = {
  open: ["EACCES", "EMFILE", "ENOSPC", "EIO", "EROFS"],
  write: ["ENOSPC", "EIO", "EDQUOT"],
  ftruncate: ["EIO"],
  fsync: ["EIO", "ENOSPC"],
  read: ["EIO"],
  stat: ["EIO", "EACCES"],
  fstat: ["EIO"],
  readlink: ["EIO", "EACCES"],
  realpath: ["EACCES"],
  rename: ["EIO", "EACCES", "EBUSY"],
  link: ["EIO", "EPERM", "ENOSPC"],
  unlink: ["EIO", "EACCES", "EBUSY"],
  mkdir: ["EACCES", "ENOSPC", "EROFS"],
  utimes: ["EACCES", "EROFS"],
  fcntl: ["EIO", "ENOLCK"],
  bind: ["EACCES", "EADDRNOTAVAIL"],
  connect: ["ECONNRESET"]
}

/**
 * On Windows, a virus scanner or the pending removal of a file can make calls of other programs on that file fail for a
 * moment. These are the errors of such calls.
 */
const windowsRefusals = ["EBUSY", "EPERM", "EACCES"]
const refusedForAMoment = new Set(["open", "stat", "rename", "unlink"])

/**
 * The milliseconds after which a service manager restarts a gateway that has ended. `None` if it does not restart the gateway.
 * launchd and the Task Scheduler wait as long as the service definitions of `gateway service` say. The other two delays are
 * arbitrary.
 */
const restartAfter = (
  { ExitStatus: { ExitStatus, fromExit } }: Subject,
  how: How,
  exit: Option.Option<Exit.Exit<unknown, unknown>>
): Option.Option<number> => {
  // A killed process has no exit status.
  const status = Option.match(exit, { onNone: () => undefined, onSome: fromExit })
  switch (how) {
    case "plain":
    case "standby":
      return Option.none()
    case "systemd":
      return status === ExitStatus.ok || status === ExitStatus.usage || status === ExitStatus.leftInControl
        ? Option.none()
        : Option.some(5000)
    case "launchd":
      return status === ExitStatus.ok ? Option.none() : Option.some(10_000)
    case "schtasks":
      return status === ExitStatus.ok ? Option.none() : Option.some(60_000)
    case "external":
      return status === ExitStatus.ok ? Option.none() : Option.some(1000)
  }
}

const maxRestarts = 12

const App = HttpServer.serve(HttpServerResponse.text("ok"))

interface Witness {
  readonly enter: (lockPaths: ReadonlyArray<string>) => Effect.Effect<void>
  readonly leave: Effect.Effect<void>
}

/**
 * Starts a gateway in the same way as the shipped program. The witness is a layer between the lock and the listener: it
 * records when the process holds the lock.
 */
const program = (subject: Subject, starter: Starter, witness: Witness) => {
  const { GatewayInstance, HealthProbe, LockFile, LossReport, Recovery } = subject
  const address = { host: starter.host, port: starter.port }
  const where = { stateDir, configPath: configPath(starter.config) }
  const supervisor = starter.how === "plain" || starter.how === "standby" ? "none" : starter.how
  const Lock = LockFile.layerWithProbes({
    ...where,
    address,
    supervisor,
    lock: { timeout: starter.how === "standby" ? Duration.zero : starter.timeout }
  })
  const Witnessed = Layer.scopedDiscard(
    Effect.acquireRelease(
      witness.enter([LockFile.configLockPath(where), LockFile.stateLockPath(where)]),
      () => witness.leave
    )
  )
  const Serving = Layer.unwrapEffect(
    Effect.as(
      Effect.sleep(starter.warmUp),
      App.pipe(Layer.provideMerge(GatewayInstance.layerServing(address)))
    )
  )
  const start = Effect.map(
    Layer.build(Serving.pipe(Layer.provideMerge(Witnessed), Layer.provideMerge(Lock))),
    (context) => Context.get(context, LockFile.LockFile)
  )
  const options = { supervisor, address } as const
  return (starter.how === "standby" ? Recovery.standby(start, options) : Recovery.recover(start, options)).pipe(
    // The program waits for the loss of the lock, not for `Effect.never`. The `Effect.never` of a killed simulated process
    // would keep its timer, so the real process of the tests would not end.
    Effect.flatMap(({ lost }) => lost),
    Effect.scoped,
    LossReport.untilLost,
    Effect.provide(HealthProbe.layer())
  )
}

// ---------------------------------------------------------------------------
// the play
// ---------------------------------------------------------------------------

/** The longest time for which a process can still warm up and live after the last start or event. */
const longestLife = Duration.seconds(42)

/**
 * The time until all consequences of the last event are over. It includes the time until a record gets stale, the time until an
 * owner rechecks its lock, and the minute after which the Task Scheduler restarts a gateway. After a restart, the gateway warms
 * up before it serves.
 */
const calm = ({ starters }: Scenario): Duration.Duration =>
  Duration.sum(
    Duration.seconds(starters.some(({ how }) => how === "schtasks") ? 75 : 45),
    Duration.millis(Math.max(...starters.map(({ warmUp }) => warmUp)))
  )

/**
 * The time within which a start after the play must serve, or end because another gateway runs. Such a start may wait five seconds
 * for its locks. It comes after the time `calm`, which is longer than the 30 seconds after which a record is stale. So the lock
 * files of killed processes do not delay it.
 */
const startBound = Duration.seconds(6)
const shutdownBound = Duration.seconds(15)

/**
 * Plays a scenario. If several processes or supervisors act at the same simulated time, the scheduler draws their order from
 * the seed `scenario.order`.
 */
export const simulate = (subject: Subject, scenario: Scenario): Effect.Effect<Report> =>
  Effect.suspend(() => {
    const scheduler = SimulatedScheduler.make(scenario.order)
    return play(subject, scenario, scheduler).pipe(
      // Simulated time passes without real waiting. Without this `setImmediate`, which lets the event loop turn, hundreds of
      // scenarios would block the process for more than a minute. Other work of the process, such as messages to the test
      // runner, would have to wait.
      Effect.zipLeft(Effect.promise(() => setImmediate())),
      Effect.withClock(SimulatedClock.make(scheduler)),
      Effect.provide(Logger.remove(Logger.defaultLogger))
    )
  })

interface Cast {
  readonly process: SimulatedHost.SimulatedProcess<unknown, unknown>
  readonly starter: Starter
  failed: boolean
  /** Whether the process believes at this moment that it holds both locks. */
  holds: boolean
}

const play = (subject: Subject, scenario: Scenario, scheduler: SimulatedScheduler.SimulatedScheduler) =>
  Effect.gen(function*() {
    const host = yield* subject.SimulatedHost.makeWith({ scheduler, platform: scenario.platform })
    yield* host.setLocking(scenario.locking)
    yield* Effect.orDie(host.files.makeDirectory(stateDir))

    const marks: Array<{ readonly at: number; readonly entry: Entry }> = []
    const mark = (entry: Entry) => marks.push({ at: host.trace().length, entry })

    const cast: Array<Cast> = []
    const later = (millis: number, act: Effect.Effect<void>) =>
      Effect.sleep(millis).pipe(
        Effect.zipRight(act),
        Effect.forkDaemon,
        Effect.withScheduler(scheduler)
      )
    let calmed = false

    // -- system calls -------------------------------------------------------

    const pending = new Map<
      number,
      { readonly calls: Map<string, number>; readonly faults: Starter["faults"]; readonly actor: Cast }
    >()

    const suffer = (fate: Fate, actor: Cast, name: string): Effect.Effect<Option.Option<string>> => {
      const { process } = actor
      switch (fate._tag) {
        case "Pause":
          return Effect.as(Effect.repeatN(Effect.yieldNow(), fate.turns), Option.none())
        case "Delay":
          // A probe of a port has a deadline. An answer after the deadline counts as no answer, so the delay is like a failed
          // call.
          if (name === "connect") actor.failed = true
          return Effect.as(Effect.sleep(fate.millis), Option.none())
        case "Freeze":
          return Effect.as(freezeFor(process, fate.millis), Option.none())
        case "Kill":
          return Effect.as(process.kill, Option.none())
        case "KillUnreaped":
          return Effect.as(process.killUnreaped, Option.none())
        case "Fail": {
          if (scenario.platform === "win32" && refusedForAMoment.has(name)) {
            const millis = (fate.pick + 1) * 100
            // A start with lock timeout zero, and a standby, which tries the lock without waiting, do not wait until the refused
            // file can be used again. So the error can make such a start fail.
            if (actor.starter.timeout === 0 || actor.starter.how === "standby") actor.failed = true
            const code = windowsRefusals[fate.pick % windowsRefusals.length] ?? "EBUSY"
            refused.set(process.serial, code)
            return Effect.as(
              later(millis, Effect.sync(() => refused.delete(process.serial))),
              Option.some(code)
            )
          }
          const fitting = errnos[name] ?? []
          const errno = fitting[fate.pick % Math.max(1, fitting.length)]
          if (errno === undefined) return Effect.succeedNone
          actor.failed = true
          return Effect.succeedSome(errno)
        }
      }
    }

    /** The processes whose calls on files fail for a moment: the serial number of each, and the error of those calls. */
    const refused = new Map<number, string>()

    const freezeFor = (process: SimulatedHost.SimulatedProcess<unknown, unknown>, millis: number) =>
      Effect.zipRight(process.freeze, later(millis, process.resume))

    yield* host.setIntercept(({ name, serial }) => {
      const mine = pending.get(serial)
      if (mine === undefined || calmed) return Effect.succeedNone
      const code = refused.get(serial)
      if (code !== undefined && refusedForAMoment.has(name)) return Effect.succeedSome(code)
      for (const key of ["", name]) mine.calls.set(key, (mine.calls.get(key) ?? 0) + 1)
      const fault = mine.faults.find((fault) =>
        fault.call === mine.calls.get(fault.name ?? "") && (fault.name === undefined || fault.name === name)
      )
      return fault === undefined ? Effect.succeedNone : suffer(fault.fate, mine.actor, name)
    })

    // -- processes ----------------------------------------------------------

    const inspectors = new Set<number>()

    const placeOf = ({ machine, networkNamespace, pidNamespace }: Starter): SimulatedHost.ProcessOptions => ({
      pidNamespace,
      networkNamespace,
      ...(machine === 1 ? {} : { bootId: `boot of machine ${machine}` })
    })

    const spawn = (starter: Starter, faults: Starter["faults"]) =>
      Effect.gen(function*() {
        let serial = -1
        let actor: Cast | undefined
        const becomes = (holds: boolean) => {
          if (actor !== undefined) actor.holds = holds
        }
        const witness: Witness = {
          enter: (lockPaths) =>
            Effect.sync(() => {
              mark({ _tag: "Enters", serial, lockPaths })
              becomes(true)
            }),
          leave: Effect.sync(() => {
            mark({ _tag: "Leaves", serial })
            becomes(false)
          })
        }
        const within = starter.within === undefined ? Option.none() : nth(starter.within)
        const process = yield* host.spawn(program(subject, starter, witness), {
          ...placeOf(starter),
          pid: starter.pid,
          kernelLocks: starter.addon,
          within: Option.getOrUndefined(Option.map(within, ({ process }) => process))
        })
        serial = process.serial
        actor = {
          process,
          starter: Option.match(within, {
            onNone: () => starter,
            // A gateway that starts within another process has the machine and the namespaces of that process.
            onSome: ({ starter: { machine, networkNamespace, pidNamespace } }) => ({
              ...starter,
              machine,
              networkNamespace,
              pidNamespace
            })
          }),
          failed: false,
          holds: false
        }
        cast.push(actor)
        if (faults.length > 0) pending.set(serial, { calls: new Map(), faults, actor })
        for (let count = 0; count < starter.inspectors; count += 1) {
          const inspector = yield* host.spawn(inspect, placeOf(starter))
          inspectors.add(inspector.serial)
        }
        return process
      })

    /** Inspects both lock files as the command `gateway status` does, three times. */
    const inspect = Effect.repeatN(
      Effect.forEach(["config", "state"] as const, (file) => subject.LockInspection.inspect(lockPathOf(file))),
      2
    )

    /** Starts a process and interrupts it after its lifetime. If it ends earlier, restarts it as its service manager would. */
    const supervise = (starter: Starter) =>
      Effect.gen(function*() {
        yield* Effect.sleep(starter.at)
        let faults = starter.faults
        for (let restarts = 0; restarts <= maxRestarts; restarts += 1) {
          const process = yield* spawn(starter, faults)
          faults = []
          const overlong = starter.life === 0 ? Effect.never : Effect.sleep(starter.life)
          const outlived = yield* Effect.raceFirst(Effect.as(overlong, true), Effect.as(process.gone, false))
          if (outlived) {
            yield* process.interrupt
            return yield* process.gone
          }
          const again = restartAfter(subject, starter.how, yield* process.poll)
          if (Option.isNone(again)) return
          yield* Effect.sleep(again.value)
        }
      })

    // -- events that befall the processes -----------------------------------

    const running = () => cast.filter(({ process }) => process.isRunning())
    const nth = (victim: number) => Option.fromNullable(running()[victim % Math.max(1, running().length)])
    const toVictim = (victim: number, act: (actor: Cast) => Effect.Effect<unknown>) =>
      Option.match(nth(victim), { onNone: () => Effect.void, onSome: act })

    const lockPathOf = (file: "config" | "state") =>
      file === "state"
        ? subject.LockFile.stateLockPath({ stateDir })
        : subject.LockFile.configLockPath({ stateDir, configPath: configPath("a") })

    const tamper = (...paths: ReadonlyArray<string>) => Effect.sync(() => mark({ _tag: "Tampers", paths }))

    const happen = (what: Happening): Effect.Effect<unknown> => {
      switch (what._tag) {
        case "Unlink": {
          const path = lockPathOf(what.file)
          return Effect.zipRight(tamper(path), Effect.orDie(host.files.remove(path, { force: true })))
        }
        case "Replace": {
          const path = lockPathOf(what.file)
          return Effect.gen(function*() {
            const old = yield* Effect.option(host.files.readFile(path))
            if (Option.isNone(old)) return
            const content = what.content === "a copy"
              ? old.value
              : new TextEncoder().encode(what.content === "nothing" ? "" : "not a record")
            yield* host.files.writeFile("/state/other", content)
            yield* tamper(path)
            yield* host.files.rename("/state/other", path)
            // While the disk is full, the intruder cannot write its file. So the error is ignored.
          }).pipe(Effect.ignore)
        }
        case "RemoveFolder":
          return Effect.zipRight(
            tamper(
              subject.LockFile.stateLockPath({ stateDir }),
              ...(["a", "b"] as const).map((config) =>
                subject.LockFile.configLockPath({ stateDir, configPath: configPath(config) })
              )
            ),
            Effect.orDie(host.files.remove(locksFolder, { recursive: true, force: true }))
          )
        case "StepClock":
          return host.stepWallClock(Duration.hours(Math.abs(what.hours)), what.hours < 0 ? "back" : "forward")
        case "FullDisk":
          return Effect.gen(function*() {
            yield* host.setCapacity(0)
            for (const actor of running()) actor.failed = true
            yield* later(what.millis, host.setCapacity(Number.POSITIVE_INFINITY))
          })
        case "Reboot":
          return host.reboot
        case "Kill":
          return toVictim(what.victim, ({ process }) => process.kill)
        case "KillAndReusePid":
          return toVictim(what.victim, ({ process, starter }) =>
            Effect.zipRight(
              process.kill,
              host.spawn(dead, { ...placeOf(starter), pid: process.pid, command: "stranger" })
            ))
        case "Freeze":
          return toVictim(what.victim, ({ process }) => freezeFor(process, what.millis))
        case "Terminate":
          return toVictim(what.victim, ({ process }) => process.interrupt)
        case "FreezeHolder": {
          const holders = running().filter(({ holds }) => holds)
          const actor = holders[what.victim % Math.max(1, holders.length)]
          if (actor === undefined) return Effect.void
          // While the holder is frozen, it may lose a lock. `failed` marks such a loss as expected, so that `check` does not report it.
          actor.failed = true
          return freezeFor(actor.process, what.millis)
        }
      }
    }

    // -- the play itself ----------------------------------------------------

    yield* Effect.forEach(scenario.starters, (starter) => Effect.forkDaemon(supervise(starter)), { discard: true })
      .pipe(
        Effect.withScheduler(scheduler)
      )
    let now = 0
    for (const { at, what } of scenario.events.toSorted((a, b) => a.at - b.at)) {
      yield* TestClock.adjust(at - now)
      now = at
      yield* happen(what)
    }
    const lastStart = Math.max(...scenario.starters.map(({ at }) => at))
    yield* TestClock.adjust(Duration.sum(Duration.millis(Math.max(0, lastStart - now)), longestLife))
    calmed = true

    // -- the state after the play -------------------------------------------

    const aftermath: Array<string> = []
    yield* TestClock.adjust(calm(scenario))
    const owners = () => [...host.ports.owners(basePort), ...host.ports.owners(basePort + 1)]
    if (owners().length === 0 && running().length > 0) {
      aftermath.push(`#${running()[0]?.process.serial} waits, and nobody serves`)
    }
    const served = owners().length > 0
    const next = yield* spawn(usual, [])
    yield* TestClock.adjust(startBound)
    if (!host.ports.owners(basePort).includes(next.pid)) {
      if (!served) aftermath.push(`nobody served, and #${next.serial} could not start`)
      else if (next.isRunning()) aftermath.push(`#${next.serial} neither serves nor ends`)
    }

    for (const { process } of running()) yield* process.interrupt
    yield* TestClock.adjust(shutdownBound)
    for (const { process } of running()) aftermath.push(`#${process.serial} was told to end, and did not`)
    for (const [serial, count] of host.openFiles()) aftermath.push(`#${serial} leaves ${count} files open`)
    for (const owner of owners()) aftermath.push(`pid ${owner} still listens`)

    const last = yield* spawn(usual, [])
    yield* TestClock.adjust(startBound)
    if (!host.ports.owners(basePort).includes(last.pid)) {
      aftermath.push(`after everybody, #${last.serial} could not start`)
    }
    yield* last.interrupt
    yield* TestClock.adjust(shutdownBound)
    const left = yield* Effect.orElseSucceed(host.files.readDirectory(locksFolder), () => [])
    const ours = [lockPathOf("config"), lockPathOf("state")]
    for (const name of left) {
      if (ours.includes(`${locksFolder}/${name}`)) aftermath.push(`after everybody, ${name} is left`)
    }

    // -- the report ---------------------------------------------------------

    const log: Array<Entry> = []
    let nextMark = 0
    for (const [at, entry] of host.trace().entries()) {
      for (let found = marks[nextMark]; found !== undefined && found.at <= at; found = marks[++nextMark]) {
        log.push(found.entry)
      }
      log.push({ _tag: "Traced", entry })
    }
    log.push(...marks.slice(nextMark).map(({ entry }) => entry))
    const players = yield* Effect.forEach(
      cast,
      ({ failed, process, starter }) =>
        Effect.map(process.poll, (exit): Player => ({
          serial: process.serial,
          pid: process.pid,
          how: starter.how,
          port: starter.port,
          networkNamespace: starter.networkNamespace,
          timeout: starter.how === "standby" ? 0 : starter.timeout ?? Duration.toMillis(defaults.lock.timeout),
          failed,
          exit
        }))
    )
    return { log, players, inspectors, aftermath }
  })
