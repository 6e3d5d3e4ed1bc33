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
import type { ProcessFacts } from "../supervisor/Supervisor.ts"
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
  readonly process: ProcessFacts & {
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

/** Where OpenTelemetry's data goes: without one of them nothing is exported, and nothing loaded for it. */
const exportVariables = [
  "OTEL_EXPORTER_OTLP_ENDPOINT",
  "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
  "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
  "OTEL_TRACES_EXPORTER",
  "OTEL_METRICS_EXPORTER"
]

const isExporting = Effect.exists(
  exportVariables,
  (name) => Effect.map(Effect.orElseSucceed(Config.string(name), () => ""), (value) => value !== "")
)

const exportIfAsked = (process: ProcessFacts) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.if(isExporting, {
    onTrue: () =>
      Effect.flatMap(Effect.promise(() => import("./Otlp.ts")), ({ layer }) => Effect.provide(self, layer(process))),
    // Nobody would see a span.
    onFalse: () => Effect.withTracerEnabled(self, false)
  })

const runCommand = (invocation: Invocation, command: Extract<CommandLine.CommandLine, { readonly _tag: "Run" }>) =>
  Effect.gen(function*() {
    const config = yield* GatewayConfig.resolve(command.flags).pipe(Effect.tapErrorCause(report("logfmt")))
    const noColor = yield* Config.string("NO_COLOR").pipe(Config.withDefault(""))
    const terminal = { isTerminal: invocation.isTerminal, colors: noColor === "" }
    yield* run(config, command, invocation.process).pipe(
      Effect.tapErrorCause(report(Logging.formatFor(config, terminal))),
      exportIfAsked(invocation.process),
      Effect.provide(Logging.layer(config, terminal))
    )
  })

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
      case "Status":
      case "Health":
      case "List":
      case "Stop":
      case "Doctor":
        return yield* Effect.dieMessage(`${command._tag} is not built yet`)
      case "Run":
        return yield* Effect.provide(runCommand(invocation, command), platform)
    }
  })
