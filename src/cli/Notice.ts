/**
 * Prints notices on stderr: messages of a command that are neither logs nor errors.
 */
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { jsonLine, type Level } from "../report/jsonLine.ts"
import type { LogFormat } from "../settings/GatewayConfig.ts"

/** The format of stderr. */
export class StderrFormat extends Context.Reference<StderrFormat>()("gateway-lock/cli/StderrFormat", {
  defaultValue: (): LogFormat => "logfmt"
}) {}

/** Prints one line on stderr: plain text, or JSON if that is the log format. */
export const notice = (message: string, level: Level = "WARN"): Effect.Effect<void> =>
  Effect.gen(function*() {
    const format = yield* StderrFormat
    const line = format === "json" ? jsonLine(yield* Clock.currentTimeMillis, level, message) : `gateway: ${message}`
    yield* Console.error(line)
  })
