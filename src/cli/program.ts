/**
 * The whole program as one effect. The caller passes the command line and the facts about the process. The effect writes the
 * output, and ends with a result or an error.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import { layer as platform } from "../gateway/LazyPlatform.ts"
import { isGatewayLockError } from "../GatewayLockError.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import { PlatformFolders } from "../host/PlatformFolders.ts"
import { variable } from "../internal/environment.ts"
import { keepInterruption } from "../internal/keepInterruption.ts"
import { printable } from "../internal/printable.ts"
import { whileNot } from "../internal/whileNot.ts"
import * as ErrorReport from "../report/ErrorReport.ts"
import { toJson, toText } from "../report/formats.ts"
import { defectToJson, otherToJson } from "../report/otherFailures.ts"
import * as GatewayConfig from "../settings/GatewayConfig.ts"
import * as Supervisor from "../supervisor/Supervisor.ts"
import { version } from "../Version.ts"
import * as CommandLine from "./CommandLine.ts"
import { Answered, ofExecFailure } from "./ExitStatus.ts"
import * as Logging from "./Logging.ts"
import { notice, StderrFormat } from "./Notice.ts"
import { run } from "./run.ts"
import { print } from "./Stdout.ts"
import { lastValue } from "./typedWords.ts"

export interface Invocation {
  /** The words after the program's name. */
  readonly argv: ReadonlyArray<string>
  /** Whether stderr is a terminal. */
  readonly isTerminal: boolean
  /** Whether stdout is a terminal. */
  readonly stdoutIsTerminal: boolean
  /** The width of stdout in columns; `undefined` if stdout is not a terminal. */
  readonly columns: number | undefined
  readonly process: Supervisor.ProcessFacts & {
    /** The absolute path of Node. */
    readonly execPath: string
    /** The absolute path of the script that Node runs. */
    readonly scriptPath: string
  }
  /** The environment of this process. The command of `exec` inherits most of it. */
  readonly environment: Readonly<Record<string, string | undefined>>
  /** The program calls this function with the format of stderr before it writes to stderr. */
  readonly onFormat: (format: GatewayConfig.LogFormat) => void
  /** Dies with the first uncaught exception. Never succeeds. */
  readonly uncaught: Effect.Effect<never>
}

/** Prints why the program ends, but prints nothing for an interruption. Does not change the exit status. */
const report = (format: GatewayConfig.LogFormat) => (cause: Cause.Cause<{ readonly message: string }>) =>
  Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    if (Option.isSome(Cause.dieOption(cause))) {
      const whole = Cause.pretty(cause)
      return yield* Console.error(format === "json" ? defectToJson(whole, now) : whole)
    }
    const failure = Cause.failureOption(cause)
    if (Option.isNone(failure)) return
    const error = failure.value
    yield* Console.error(
      format === "json" ? otherToJson(error, now) : `gateway: ${printable(error.message)}`
    )
  })

/** The variables that enable the export of OpenTelemetry data. If none is set, the exporter is not loaded. */
const exportVariables = [
  "OTEL_EXPORTER_OTLP_ENDPOINT",
  "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
  "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
  "OTEL_TRACES_EXPORTER",
  "OTEL_METRICS_EXPORTER"
]

const isExporting = Effect.exists(exportVariables, (name) => Effect.map(variable(name), Option.isSome))

const exportIfAsked = (process: Supervisor.ProcessFacts) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.if(isExporting, {
    onTrue: () =>
      Effect.flatMap(
        Effect.promise(() => import("../telemetry/Otlp.ts")),
        ({ layer }) => Effect.provide(self, layer(process))
      ),
    // Without an exporter, spans would only cost time.
    onFalse: () => Effect.withTracerEnabled(self, false)
  })

/**
 * Stops the process that holds the lock, for `run --force`. The code of the stop is loaded here, so that starts without
 * `--force` do not load it.
 */
const makeRoom = (
  { process }: Invocation,
  { flags }: { readonly flags: ReadonlyMap<string, string> },
  config: GatewayConfig.GatewayConfig
) =>
  Effect.gen(function*() {
    const { kind, reason } = yield* Supervisor.make(config.supervisor, process)
    if (kind !== "none") {
      return yield* Effect.logWarning(
        `--force is ignored under ${kind} (${reason}): two services with --force would stop each other again and again`
      )
    }
    const stop = yield* Effect.promise(() => import("./stop.ts"))
    yield* stop.makeRoom({ config, flags })
  })

/** Whether colours are allowed: `NO_COLOR` is unset or empty (no-color.org). */
const colors = Effect.map(variable("NO_COLOR"), Option.isNone)

/**
 * Prints why a start failed, as `report` does. If another process prevents the start, this function also prints which process
 * that is, and the commands that the user can run next.
 */
const reportStart = (
  format: GatewayConfig.LogFormat,
  invocation: Invocation,
  self: GatewayConfig.GatewayConfig,
  exec?: Pick<CommandLine.ExecCommandLine, "hasPort">
) =>
(cause: Cause.Cause<{ readonly message: string }>) =>
  Effect.gen(function*() {
    const error = Option.filter(Cause.failureOption(cause), isGatewayLockError)
    if (Option.isNone(error) || Option.isSome(Cause.dieOption(cause))) return yield* report(format)(cause)
    const refused = yield* ErrorReport.gather(
      error.value,
      { self, ...(exec === undefined ? {} : { exec }) },
      (occupied) => Effect.flatMap(Effect.promise(() => import("../report/occupant.ts")), (_) => _.findLive(occupied))
    ).pipe(Effect.provideService(HostPlatform, invocation.process.platform))
    yield* Console.error((format === "json" ? toJson : toText)(refused.error, refused.start))
  })

/** A setting before the settings are resolved, from the flag or the environment variable. `None` if it is absent or not valid. */
const asTyped = <A>(argv: ReadonlyArray<string>, setting: GatewayConfig.Setting<A>): Effect.Effect<Option.Option<A>> =>
  Effect.gen(function*() {
    const { env = "", flag = "" } = setting
    const fromEnvironment = yield* variable(env)
    const given = lastValue(argv, flag) ?? Option.getOrElse(fromEnvironment, () => "")
    return setting.decode(given)
  })

/** The log format for errors that occur before the settings are known. */
const formatAsTyped = (argv: ReadonlyArray<string>): Effect.Effect<GatewayConfig.LogFormat> =>
  Effect.map(asTyped(argv, GatewayConfig.settings.logFormat), Option.getOrElse((): GatewayConfig.LogFormat => "logfmt"))

const runCommand = (
  invocation: Invocation,
  command: Extract<CommandLine.CommandLine, { readonly _tag: "Run" }>,
  typed: GatewayConfig.LogFormat
) =>
  Effect.gen(function*() {
    const config = yield* GatewayConfig.resolve(command.flags).pipe(Effect.tapErrorCause(report(typed)))
    const terminal = { isTerminal: invocation.isTerminal, colors: yield* colors }
    const token = yield* GatewayConfig.accessToken(config).pipe(Effect.tapErrorCause(report(typed)))
    const leaseUrl = yield* GatewayConfig.leaseUrl(config.lease).pipe(Effect.tapErrorCause(report(typed)))
    const start = run(
      config,
      { ...command, token: Option.getOrUndefined(token), leaseUrl: Option.getOrUndefined(leaseUrl) },
      invocation.process
    )
    yield* (command.force ? Effect.zipRight(makeRoom(invocation, command, config), start) : start).pipe(
      whileNot(invocation.uncaught),
      Effect.tapErrorCause(reportStart(Logging.formatFor(config, terminal), invocation, config)),
      exportIfAsked(invocation.process),
      Logging.logged(config, terminal)
    )
  })

/**
 * Runs `exec`. Its exit status is that of the command that it runs. An error of `exec` itself becomes an exit status that such a
 * command is not likely to use.
 */
const execCommand = (
  invocation: Invocation,
  command: CommandLine.ExecCommandLine,
  typed: GatewayConfig.LogFormat
) =>
  Effect.gen(function*() {
    const config = yield* GatewayConfig.resolve(command.flags).pipe(Effect.tapErrorCause(report(typed)))
    const terminal = { isTerminal: invocation.isTerminal, colors: yield* colors }
    const { conflictStatus, exec } = yield* Effect.promise(() => import("./exec.ts"))
    const conflict = yield* conflictStatus(command).pipe(Effect.tapErrorCause(report(typed)))
    const leaseUrl = yield* GatewayConfig.leaseUrl(config.lease).pipe(Effect.tapErrorCause(report(typed)))
    const isJson = Logging.formatFor(config, terminal) === "json"
    const room = command.force ? makeRoom(invocation, command, config) : Effect.void
    return yield* exec(config, command, invocation.process, invocation.environment, room, { isJson, leaseUrl }).pipe(
      whileNot(invocation.uncaught),
      Effect.tapErrorCause(reportStart(Logging.formatFor(config, terminal), invocation, config, command)),
      Effect.catchAll((error) =>
        Option.match(ofExecFailure(error, conflict), {
          onNone: () => Effect.fail(error),
          onSome: (status) => Effect.succeed(new Answered({ status }))
        })
      ),
      exportIfAsked(invocation.process),
      Logging.logged(config, terminal)
    )
  })

/** Gives the log lines of a command that does not stay the form of its other messages on stderr. */
const withNotices =
  (argv: ReadonlyArray<string>, typed: GatewayConfig.LogFormat) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.flatMap(
      asTyped(argv, GatewayConfig.settings.logLevel),
      (level) => Logging.loggedAsNotices(typed, Option.getOrElse(level, () => LogLevel.Info))(self)
    )

/** Resolves the settings, and prints the problems of the config file on stderr. */
const resolveWarning = (flags: ReadonlyMap<string, string>) =>
  Effect.gen(function*() {
    const { config, problems } = yield* GatewayConfig.resolveLenient(flags)
    for (const { message } of problems) yield* notice(message)
    return config
  })

const stopCommand = (
  invocation: Invocation,
  command: Extract<CommandLine.CommandLine, { readonly _tag: "Stop" }>,
  typed: GatewayConfig.LogFormat
) =>
  Effect.gen(function*() {
    // A problem in the config file must not prevent a stop, so such problems are only printed.
    const config = yield* resolveWarning(command.flags)
    const { stop } = yield* Effect.promise(() => import("./stop.ts"))
    yield* stop({ ...command, config })
  }).pipe(whileNot(invocation.uncaught), Effect.tapErrorCause(report(typed)))

const serviceCommand = (
  invocation: Invocation,
  command: Extract<CommandLine.CommandLine, { readonly _tag: "Service" }>,
  typed: GatewayConfig.LogFormat
) =>
  Effect.gen(function*() {
    const { foldersOf, live, service } = yield* Effect.promise(() => import("./service.ts"))
    const folders = foldersOf({ ...command, platform: invocation.process.platform })
    // An action on a service that is installed must not fail because of the config file.
    const resolved = command.action !== "print" && command.action !== "install"
      ? resolveWarning(command.flags)
      // `exec` does not serve the port itself, so it needs no token.
      : Effect.tap(
        GatewayConfig.resolve(command.flags),
        command.exec === undefined ? GatewayConfig.checkService : GatewayConfig.checkConfigKind
      )
    const config = yield* resolved.pipe(
      Option.isSome(folders) ? Effect.provideService(PlatformFolders, folders.value) : identity
    )
    return yield* live(service({
      ...command,
      config,
      execPath: invocation.process.execPath,
      scriptPath: invocation.process.scriptPath,
      platform: invocation.process.platform
    }))
  }).pipe(whileNot(invocation.uncaught), Effect.tapErrorCause(report(typed)))

/** Runs a read-only command. Its code is loaded only when it is needed. */
const inspectCommand = (
  invocation: Invocation,
  command: Extract<CommandLine.CommandLine, { readonly _tag: "Status" | "Health" | "List" | "Doctor" }>,
  typed: GatewayConfig.LogFormat
) =>
  Effect.gen(function*() {
    const style = { colors: invocation.stdoutIsTerminal && (yield* colors) }
    switch (command._tag) {
      case "Status": {
        const { status } = yield* Effect.promise(() => import("./status.ts"))
        return yield* status(command, style, invocation.stdoutIsTerminal)
      }
      case "Health": {
        const { health } = yield* Effect.promise(() => import("./health.ts"))
        return yield* health(command)
      }
      case "List": {
        const { list } = yield* Effect.promise(() => import("./list.ts"))
        return yield* list(command, style, invocation.stdoutIsTerminal)
      }
      case "Doctor": {
        const { doctor } = yield* Effect.promise(() => import("./doctor.ts"))
        return yield* doctor(command, invocation.process, style)
      }
    }
  }).pipe(whileNot(invocation.uncaught), Effect.tapErrorCause(report(typed)))

const leaderCommand = (
  invocation: Invocation,
  command: Extract<CommandLine.CommandLine, { readonly _tag: "Leader" }>,
  typed: GatewayConfig.LogFormat
) =>
  Effect.flatMap(Effect.promise(() => import("./leader.ts")), ({ leader }) => leader(command)).pipe(
    whileNot(invocation.uncaught),
    Effect.tapErrorCause(report(typed))
  )

/** Shows the waits of a command on a terminal. JSON lines stay alone on stderr, and a dumb terminal cannot clear a line. */
const showingWaits =
  ({ isTerminal }: Invocation, typed: GatewayConfig.LogFormat) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.gen(function*() {
      if (!isTerminal || typed === "json" || Option.getOrUndefined(yield* variable("TERM")) === "dumb") {
        return yield* self
      }
      const { onTerminal } = yield* Effect.promise(() => import("./Progress.ts"))
      return yield* onTerminal(self)
    })

const answer = (invocation: Invocation, typed: GatewayConfig.LogFormat) =>
  Effect.gen(function*() {
    const command = yield* CommandLine.parse(invocation.argv).pipe(Effect.tapErrorCause(report(typed)))
    const waiting = showingWaits(invocation, typed)
    const noticed = withNotices(invocation.argv, typed)
    switch (command._tag) {
      case "Help": {
        const help = yield* Effect.promise(() => import("./Help.ts"))
        const { columns } = invocation
        return yield* print(
          command.command === undefined ? help.page(columns) : help.ofCommand(command.command, columns)
        ).pipe(Effect.tapErrorCause(report(typed)))
      }
      case "Completions": {
        const completions = yield* Effect.promise(() => import("./Completions.ts"))
        return yield* Effect.tapErrorCause(print(completions.script(command.shell).trimEnd()), report(typed))
      }
      case "Version":
        return yield* Effect.tapErrorCause(print(`gateway ${version}`), report(typed))
      case "Service":
        return yield* noticed(Effect.provide(serviceCommand(invocation, command, typed), platform))
      case "Stop":
        return yield* noticed(Effect.provide(waiting(stopCommand(invocation, command, typed)), platform))
      case "Status":
      case "Health":
      case "List":
      case "Doctor":
        return yield* noticed(inspectCommand(invocation, command, typed))
      case "Leader":
        return yield* noticed(Effect.provide(leaderCommand(invocation, command, typed), platform))
      case "Exec":
        return yield* Effect.provide(waiting(execCommand(invocation, command, typed)), platform)
      case "Run":
        return yield* Effect.provide(waiting(runCommand(invocation, command, typed)), platform)
    }
  })

export const program = (invocation: Invocation) =>
  Effect.gen(function*() {
    yield* keepInterruption
    const typed = yield* formatAsTyped(invocation.argv)
    invocation.onFormat(typed)
    return yield* Effect.provideService(answer(invocation, typed), StderrFormat, typed)
  })
