/**
 * The whole program but for the process it runs in: words in, output and an exit out.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as GatewayConfig from "../GatewayConfig.ts"
import { isGatewayLockError } from "../GatewayLockError.ts"
import * as Supervisor from "../supervisor/Supervisor.ts"
import { version } from "../Version.ts"
import * as CommandLine from "./CommandLine.ts"
import * as ErrorReport from "./ErrorReport.ts"
import * as Logging from "./Logging.ts"
import { layer as platform } from "./platform.ts"
import { run } from "./run.ts"

export interface Invocation {
  /** The words after the program's name. */
  readonly argv: ReadonlyArray<string>
  /** Whether stderr is a terminal. */
  readonly isTerminal: boolean
  /** Whether stdout is. */
  readonly stdoutIsTerminal: boolean
  readonly process: Supervisor.ProcessFacts & {
    /** The absolute path of node. */
    readonly execPath: string
    /** The absolute path of what it runs. */
    readonly scriptPath: string
  }
}

/** Prints why the program ends, unless it was asked to. Changes nothing about the exit. */
const report = (format: GatewayConfig.LogFormat) => (cause: Cause.Cause<{ readonly message: string }>) =>
  Effect.gen(function*() {
    if (Option.isSome(Cause.dieOption(cause))) return yield* Console.error(Cause.pretty(cause))
    const failure = Cause.failureOption(cause)
    if (Option.isNone(failure)) return
    const error = failure.value
    if (!isGatewayLockError(error)) return yield* Console.error(`gateway: ${error.message}`)
    const now = yield* Clock.currentTimeMillis
    yield* Console.error(format === "json" ? ErrorReport.toJson(error, now) : ErrorReport.toText(error, now))
  })

/** Loaded only where it is asked for: a refused start does not pay for it. */
const makeRoom = (
  { isTerminal, process }: Invocation,
  { flags }: Pick<CommandLine.CommandLine & { readonly _tag: "Run" }, "flags">,
  config: GatewayConfig.GatewayConfig
) =>
  Effect.gen(function*() {
    const { kind, reason } = yield* Supervisor.make(config.supervisor, process)
    if (kind !== "none") {
      return yield* Effect.logWarning(
        `--force is not followed under ${kind} (${reason}): two services that had it would end each other for ever`
      )
    }
    const stop = yield* Effect.promise(() => import("./stop.ts"))
    yield* stop.makeRoom({ config, flags, isTerminal })
  })

/** `NO_COLOR` is unset or empty (no-color.org). */
const colors = Effect.map(Config.withDefault(Config.string("NO_COLOR"), ""), (noColor) => noColor === "")

const runCommand = (invocation: Invocation, command: Extract<CommandLine.CommandLine, { readonly _tag: "Run" }>) =>
  Effect.gen(function*() {
    const config = yield* GatewayConfig.resolve(command.flags).pipe(Effect.tapErrorCause(report("logfmt")))
    const terminal = { isTerminal: invocation.isTerminal, colors: yield* colors }
    const start = run(config, command, invocation.process)
    yield* (command.force ? Effect.zipRight(makeRoom(invocation, command, config), start) : start).pipe(
      Effect.tapErrorCause(report(Logging.formatFor(config, terminal))),
      Effect.provide(Logging.layer(config, terminal))
    )
  })

const stopCommand = (invocation: Invocation, command: Extract<CommandLine.CommandLine, { readonly _tag: "Stop" }>) =>
  Effect.gen(function*() {
    // What a config file has wrong does not keep a gateway running.
    const { config, problems } = yield* GatewayConfig.resolveLenient(command.flags)
    for (const { message } of problems) yield* Console.error(`gateway: ${message}`)
    const { stop } = yield* Effect.promise(() => import("./stop.ts"))
    yield* stop({ ...command, config, isTerminal: invocation.isTerminal })
  }).pipe(Effect.tapErrorCause(report("logfmt")))

const serviceCommand = (
  invocation: Invocation,
  command: Extract<CommandLine.CommandLine, { readonly _tag: "Service" }>
) =>
  Effect.gen(function*() {
    const config = yield* GatewayConfig.resolve(command.flags)
    const { service } = yield* Effect.promise(() => import("./service.ts"))
    yield* service({
      ...command,
      config,
      execPath: invocation.process.execPath,
      scriptPath: invocation.process.scriptPath,
      platform: invocation.process.platform
    })
  }).pipe(Effect.tapErrorCause(report("logfmt")))

/** A command that only looks. */
const inspectCommand = (
  invocation: Invocation,
  command: Extract<CommandLine.CommandLine, { readonly _tag: "Status" | "Health" | "List" | "Doctor" }>
) =>
  Effect.gen(function*() {
    const style = { colors: invocation.stdoutIsTerminal && (yield* colors) }
    switch (command._tag) {
      case "Status": {
        const { status } = yield* Effect.promise(() => import("./status.ts"))
        return yield* status(command, style)
      }
      case "Health": {
        const { health } = yield* Effect.promise(() => import("./health.ts"))
        return yield* health(command)
      }
      case "List": {
        const { list } = yield* Effect.promise(() => import("./list.ts"))
        return yield* list(command, style)
      }
      case "Doctor": {
        const { doctor } = yield* Effect.promise(() => import("./doctor.ts"))
        return yield* doctor(command, invocation.process, style)
      }
    }
  }).pipe(Effect.tapErrorCause(report("logfmt")))

export const program = (invocation: Invocation) =>
  Effect.gen(function*() {
    const command = yield* CommandLine.parse(invocation.argv).pipe(Effect.tapErrorCause(report("logfmt")))
    switch (command._tag) {
      case "Help": {
        const help = yield* Effect.promise(() => import("./Help.ts"))
        return yield* Console.log(help.text)
      }
      case "Version":
        return yield* Console.log(`gateway ${version}`)
      case "Service":
        return yield* Effect.provide(serviceCommand(invocation, command), platform)
      case "Stop":
        return yield* Effect.provide(stopCommand(invocation, command), platform)
      case "Status":
      case "Health":
      case "List":
      case "Doctor":
        return yield* inspectCommand(invocation, command)
      case "Run":
        return yield* Effect.provide(runCommand(invocation, command), platform)
    }
  })
