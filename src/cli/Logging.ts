/**
 * Where log lines go, and in which form: always to stderr, since stdout is for answers.
 */
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as HashSet from "effect/HashSet"
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

/** Runs an effect with it. Two layers would do the same, and building them takes a part of each start. */
export const logged = (config: Pick<GatewayConfig, "logFormat" | "logLevel">, terminal: TerminalFacts) => {
  const loggers = {
    pretty: Logger.prettyLogger({ stderr: true, colors: terminal.isTerminal && terminal.colors, mode: "tty" }),
    logfmt: Logger.withConsoleError(Logger.logfmtLogger),
    json: Logger.withConsoleError(Logger.jsonLogger)
  }
  const logger = loggers[formatFor(config, terminal)]
  return <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    self.pipe(
      Effect.locallyWith(
        FiberRef.currentLoggers,
        (present) => HashSet.add(HashSet.remove(present, Logger.defaultLogger), logger)
      ),
      Logger.withMinimumLogLevel(config.logLevel)
    )
}
