/**
 * `gateway health`: the health check for containers and scripts.
 *
 * The gateway is healthy if a process holds the lock, and the instance that the lock file names answers `/healthz`. If the lock
 * file cannot be read (it belongs to another user, or is outside of this container), the gateway that answers cannot be
 * identified. The command then fails, and one line on stderr says how to check only the port.
 */
import * as Effect from "effect/Effect"
import { urlHost } from "../Address.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import type { GatewayStatus } from "../inspect/GatewayStatus.ts"
import { adviceFor } from "../internal/advice.ts"
import { printable } from "../internal/printable.ts"
import type { CommandLine } from "./CommandLine.ts"
import { Answered, ExitStatus } from "./ExitStatus.ts"
import * as Inspected from "./inspected.ts"
import { notice } from "./Notice.ts"
import { verdictWords } from "./StatusReport.ts"

/** The reason why the gateway is not healthy, in one line. Pure. */
export const describe = (
  { health, port, reason, verdict, warnings }: GatewayStatus,
  platform: string
): string => {
  const askAlone = health?.healthy === true && health.identity === "unknown" && port !== undefined
    ? [`to check only the port: ${adviceFor(platform).checkUrl(`http://${urlHost(port.host)}:${port.port}/healthz`)}`]
    : []
  const words = verdict === "running" || verdict === "standby" ? "not verified" : verdictWords(verdict)
  return printable([`${words}: ${reason}`, ...warnings, ...askAlone].join("; "))
}

export const health = ({ flags }: Extract<CommandLine, { readonly _tag: "Health" }>) =>
  Effect.gen(function*() {
    const seen = yield* Inspected.inspect(flags, { listeners: false })
    // The verdict `running` alone does not prove that the gateway is healthy. For a system service every user gets this verdict, but
    // only users who may read the lock file of the service can identify the instance that answers.
    // A gateway that waits to lead is healthy too: a restart would not make it lead.
    const isHealthy = seen.verdict === "running" || seen.verdict === "standby"
    if (isHealthy && seen.health?.identity === "owner") return new Answered({ status: ExitStatus.ok })
    yield* notice(describe(seen, yield* HostPlatform), "ERROR")
    return new Answered({ status: ExitStatus.failure })
  }).pipe(Effect.provide(Inspected.layer))
