/**
 * Where log lines go, and in which form: always to stderr, since stdout is for answers.
 */
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import type { GatewayConfig, LogFormat } from "../GatewayConfig.ts"

export interface TerminalFacts {
  /** Whether stderr is a terminal. */
  readonly isTerminal: boolean
  /** `NO_COLOR` is unset or empty (no-color.org). */
  readonly colors: boolean
}

export const formatFor = (config: Pick<GatewayConfig, "logFormat">, terminal: TerminalFacts): LogFormat =>
  Option.getOrElse(config.logFormat, () => terminal.isTerminal ? "pretty" : "logfmt")

export const layer = (
  config: Pick<GatewayConfig, "logFormat" | "logLevel">,
  terminal: TerminalFacts
): Layer.Layer<never> => {
  const loggers = {
    pretty: Logger.prettyLogger({ stderr: true, colors: terminal.isTerminal && terminal.colors, mode: "tty" }),
    logfmt: Logger.withConsoleError(Logger.logfmtLogger),
    json: Logger.withConsoleError(Logger.jsonLogger)
  }
  return Layer.merge(
    Logger.replace(Logger.defaultLogger, loggers[formatFor(config, terminal)]),
    Logger.minimumLogLevel(config.logLevel)
  )
}
