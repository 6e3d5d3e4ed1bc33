/**
 * `gateway service start|stop|restart|status|logs`: runs the commands of the service manager. Prints each command on stderr before
 * it runs. The command gets the standard streams of this process.
 */
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import { ChildProgram } from "../host/ChildProgram.ts"
import { ReceivedSignals } from "../host/ReceivedSignals.ts"
import { ownInherited } from "../internal/child.ts"
import { shellWord } from "../internal/shellWord.ts"
import { execute, failed, notFound } from "../supervisor/ManagerCommand.ts"
import * as ServiceControl from "../supervisor/ServiceControl.ts"
import { adviceFor, ServiceFailed } from "../supervisor/ServiceFailed.ts"
import { isMissing } from "../supervisor/ServiceManager.ts"
import { longestStop, serviceNames } from "../supervisor/ServiceOptions.ts"
import { definitionPath, launchdLogs, type Place, showWord } from "../supervisor/ServiceSteps.ts"
import { UsageError } from "./CommandLine.ts"
import type { ControlAction } from "./commands.ts"
import { Answered, EndedBySignal, ExitStatus } from "./ExitStatus.ts"
import { notice } from "./Notice.ts"
import { type OutputFailed, print } from "./Stdout.ts"

/** A service, and what to do with it. */
export interface ControlOptions extends Place {
  readonly action: ControlAction
  readonly follow: boolean
  /** The number of lines, as typed. Default: 100. */
  readonly lines: string | undefined
  readonly dryRun: boolean
}

type Ended = Answered | EndedBySignal
type Words = ServiceControl.Words
type Needs = FileSystem.FileSystem | CommandExecutor.CommandExecutor | ChildProgram
type Failure = ServiceFailed | OutputFailed

const shown = (words: Words): string => words.map(showWord).join(" ")

const say = (words: Words) => notice(`run ${shown(words)}`, "INFO")

const answered = (status: number): Ended => new Answered({ status })

/** What runs commands for one action. Signals that this process receives reach the command that runs. */
interface Runner {
  readonly options: ControlOptions
  readonly signals: Queue.Dequeue<NodeJS.Signals>
}

/** Runs a command in the foreground, and returns how it ended. It has no time limit, because a person can end it. */
const foreground = (
  { options, signals }: Runner,
  words: Words
): Effect.Effect<Ended, ServiceFailed, ChildProgram> =>
  Effect.scoped(Effect.gen(function*() {
    yield* say(words)
    const { start } = yield* ChildProgram
    const [command, ...args] = words
    const child = yield* Effect.mapError(
      start({ command, args, env: ownInherited(), inherits: [], sockets: [], newSession: false, waits: false }),
      ({ reason, why }) => why === "NotFound" ? notFound(options, words) : failed(options, words, reason)
    )
    // A terminal sends Ctrl-C to the command as well. The second SIGINT does no harm, and a signal by kill(1) comes only here.
    yield* Effect.forkScoped(
      Effect.forever(Effect.flatMap(Queue.take(signals), (signal) => child.signal(signal, "child")))
    )
    const ended = yield* child.ended
    return ended._tag === "Exited" ? answered(ended.status) : new EndedBySignal({ signal: ended.signal })
  }))

const isDone = (ended: Ended): boolean => ended instanceof Answered && ended.status === ExitStatus.ok

/** The commands that a dry run prints. If launchd has the job already, another command is run than otherwise. */
const previewed = (options: ControlOptions, range: ServiceControl.LogRange): ReadonlyArray<string> => {
  const { action, manager } = options
  if (manager === "systemd") return [shown(ServiceControl.ofSystemd(options, range)[action])]
  if (manager === "schtasks") {
    const { start, status, stop } = ServiceControl.ofScheduler(options)
    switch (action) {
      case "start":
        return [shown(start)]
      case "stop":
        return [shown(stop)]
      case "restart":
        return [shown(stop), shown(start)]
      case "status":
      case "logs":
        return [shown(status)]
    }
  }
  const { bootout, bootstrap, kickstart, print } = ServiceControl.ofLaunchd(options)
  switch (action) {
    case "start":
      return [shown(print), `${shown(kickstart)}, if launchd has the job, or ${shown(bootstrap)}`]
    case "stop":
      return [shown(print), `${shown(bootout)}, if launchd has the job`]
    case "restart":
      return [shown(print), `${shown(bootout)}, if launchd has the job`, shown(bootstrap)]
    case "status":
    case "logs":
      return [shown(print)]
  }
}

const otherScope = (options: ControlOptions): ControlOptions => ({
  ...options,
  service: { ...options.service, scope: options.service.scope === "system" ? "user" : "system" }
})

/** What to type if the service is not installed. */
const adviseInstall = (options: ControlOptions): Effect.Effect<string, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const { manager, service: { profile, scope } } = options
    const isElsewhere = manager !== "schtasks"
      && (yield* Effect.orElseSucceed(fs.exists(definitionPath(otherScope(options))), () => false))
    if (isElsewhere) {
      return scope === "user"
        ? "it is installed for the whole machine: add --system"
        : "it is installed for this user: omit --system"
    }
    return `to install it: gateway service install${scope === "system" ? " --system" : ""}${
      profile === "default" ? "" : ` --profile ${profile}`
    }`
  })

/** Fails if the service is not installed. systemd also knows units in other folders than the one of `service install`. */
const checkInstalled = (options: ControlOptions): Effect.Effect<void, ServiceFailed, Needs> =>
  Effect.gen(function*() {
    const missing = yield* isMissing(options)
    if (Option.isNone(missing)) return
    if (options.manager === "systemd") {
      const { load } = ServiceControl.ofSystemd(options, { lines: "0", follow: false })
      const state = yield* Effect.option(execute(options, load))
      if (Option.exists(state, ({ status, stdout }) => status === 0 && /^LoadState=(?!not-found)/m.test(stdout))) return
    }
    return yield* new ServiceFailed({
      what: `cannot ${options.action === "logs" || options.action === "status" ? "show" : options.action}`,
      where: serviceNames(options.manager, options.service.profile).name,
      reason: `it is not installed, ${missing.value}`,
      advice: yield* adviseInstall(options)
    })
  })

/** The log files that the installed definition names. The flags of this command line may name another state directory. */
const installedLogs = (options: ControlOptions): Effect.Effect<ReadonlyArray<string>, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const text = yield* Effect.orElseSucceed(fs.readFileString(definitionPath(options)), () => "")
    const files = ServiceControl.logFilesIn(text)
    return files.length === 0 ? launchdLogs(options) : files
  })

/** Says where the log of a service is, for a manager that keeps no logs. */
const noLogs = (options: ControlOptions, { follow, lines }: ServiceControl.LogRange) =>
  Effect.gen(function*() {
    const where = serviceNames(options.manager, options.service.profile).name
    const what = "cannot show the logs of"
    if (options.manager === "schtasks") {
      return new ServiceFailed({
        what,
        where,
        reason: "the Task Scheduler keeps none",
        advice: "to see them, stop the task and run its command in a terminal"
      })
    }
    const files = yield* installedLogs(options)
    const tail = `tail -n ${lines === "all" ? "+1" : lines}${follow ? " -F" : ""} ${files.map(shellWord).join(" ")}`
    return new ServiceFailed({ what, where, reason: "launchd keeps none", advice: `its output is in a file: ${tail}` })
  })

const systemd = (runner: Runner, range: ServiceControl.LogRange): Effect.Effect<Ended, ServiceFailed, Needs> =>
  Effect.gen(function*() {
    const { options } = runner
    const commands = ServiceControl.ofSystemd(options, range)
    const ended = yield* foreground(runner, commands[options.action])
    if (isDone(ended) || options.action === "logs") return ended
    const reached = yield* Effect.option(execute(options, commands.reach))
    if (Option.exists(reached, ({ status }) => status === 0)) return ended
    yield* notice(`systemd does not answer here; ${adviceFor(options)}`, "ERROR")
    // systemctl ends with 1 in this case, which would mean that the service is dead and a file remains.
    return options.action === "status" ? answered(ExitStatus.otherwise) : ended
  })

/** 0 or 1, because the other numbers of launchctl differ between versions of macOS. */
const orFailure = (ended: Ended): Ended =>
  ended instanceof Answered && ended.status !== ExitStatus.ok ? answered(ExitStatus.failure) : ended

/**
 * Loads the job. launchd refuses a job that it has not finished to stop, so a failure is retried for as long as a stop may take.
 */
const bootstrapPatiently = (options: ControlOptions, words: Words) =>
  Effect.gen(function*() {
    yield* say(words)
    yield* execute(options, words).pipe(
      Effect.filterOrFail(
        ({ status }) => status === 0,
        ({ output, status }) => failed(options, words, `exit status ${status}${output === "" ? "" : `, ${output}`}`)
      ),
      Effect.retry(Schedule.spaced("500 millis").pipe(Schedule.upTo(longestStop(options.service))))
    )
    return answered(ExitStatus.ok)
  })

const launchd = (runner: Runner): Effect.Effect<Ended, Failure, Needs> =>
  Effect.gen(function*() {
    const { options } = runner
    const commands = ServiceControl.ofLaunchd(options)
    const { name } = serviceNames("launchd", options.service.profile)
    yield* say(commands.print)
    const job = yield* execute(options, commands.print)
    const isLoaded = job.status === 0
    switch (options.action) {
      case "start":
        return orFailure(yield* foreground(runner, isLoaded ? commands.kickstart : commands.bootstrap))
      case "stop":
        if (isLoaded) return orFailure(yield* foreground(runner, commands.bootout))
        yield* print(`${name} is not running`)
        return answered(ExitStatus.ok)
      case "restart": {
        if (isLoaded) {
          const ended = orFailure(yield* foreground(runner, commands.bootout))
          if (!isDone(ended)) return ended
        }
        return yield* bootstrapPatiently(options, commands.bootstrap)
      }
      case "status":
      case "logs":
        yield* print(isLoaded ? job.stdout.trimEnd() : `${name} is not running`)
        return answered(isLoaded && /^\s*state = running$/m.test(job.stdout) ? ExitStatus.ok : ExitStatus.notRunning)
    }
  })

const scheduler = (runner: Runner): Effect.Effect<Ended, ServiceFailed, Needs> =>
  Effect.gen(function*() {
    const { start, status, stop } = ServiceControl.ofScheduler(runner.options)
    switch (runner.options.action) {
      case "start":
        return yield* foreground(runner, start)
      case "stop":
        return yield* foreground(runner, stop)
      case "restart":
        // `/End` also fails if the task is not running.
        yield* foreground(runner, stop)
        return yield* foreground(runner, start)
      case "status":
      case "logs":
        return yield* foreground(runner, status)
    }
  })

const rangeOf = ({ follow, lines = "100" }: ControlOptions): Effect.Effect<ServiceControl.LogRange, UsageError> =>
  lines === "all" || /^\d{1,9}$/.test(lines) ? Effect.succeed({ lines, follow }) : new UsageError({
    reason: `--lines ${JSON.stringify(lines)} is not allowed: expected a number from 0, or all`,
    command: "service"
  })

/** Does what was asked, and ends as the command of the service manager does. */
export const control = (
  options: ControlOptions
): Effect.Effect<Ended | void, UsageError | Failure, Needs | ReceivedSignals> =>
  Effect.scoped(Effect.gen(function*() {
    const range = yield* rangeOf(options)
    const keepsNoLogs = options.action === "logs" && options.manager !== "systemd"
    if (options.dryRun && !keepsNoLogs) {
      for (const line of previewed(options, range)) yield* print(`would run ${line}`)
      return
    }
    const received = yield* ReceivedSignals
    const signals = yield* received.listen(["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"])
    const checked = yield* checkInstalled(options).pipe(
      Effect.as(Option.none<Ended>()),
      Effect.raceFirst(Effect.map(Queue.take(signals), (signal) => Option.some<Ended>(new EndedBySignal({ signal })))),
      Effect.catchAll((error) =>
        options.action === "status"
          ? Effect.as(notice(error.message, "ERROR"), Option.some(answered(ExitStatus.otherwise)))
          : Effect.fail(error)
      )
    )
    if (Option.isSome(checked)) return checked.value
    if (keepsNoLogs) return yield* Effect.flatMap(noLogs(options, range), Effect.fail)
    const runner: Runner = { options, signals }
    switch (options.manager) {
      case "systemd":
        return yield* systemd(runner, range)
      case "launchd":
        return yield* launchd(runner)
      case "schtasks":
        return yield* scheduler(runner)
    }
  }))
