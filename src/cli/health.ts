/**
 * `gateway health`: for probes of containers and scripts.
 *
 * Healthy is who holds this gateway's lock and answers `/healthz` under the lock's own instance, and nobody else. Where the
 * lock cannot be read (another user's, or not in this container), nothing says which gateway answers, and that is not
 * healthy: the one line on stderr tells how to ask the port alone.
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

/** Why it is not healthy, in one line. Pure. */
export const describe = (
  { health, port, reason, verdict, warnings }: GatewayStatus,
  platform: string
): string => {
  const askAlone = health?.healthy === true && health.identity === "unknown" && port !== undefined
    ? [`to ask the port alone: ${adviceFor(platform).checkUrl(`http://${urlHost(port.host)}:${port.port}/healthz`)}`]
    : []
  const words = verdict === "running" ? "not verified" : verdictWords(verdict)
  return printable([`${words}: ${reason}`, ...warnings, ...askAlone].join("; "))
}

export const health = ({ flags }: Extract<CommandLine, { readonly _tag: "Health" }>) =>
  Effect.gen(function*() {
    const seen = yield* Inspected.inspect(flags, { listeners: false })
    // A service of the system is seen to run by every user; which instance answers, by those who may read its lock: the answer must name the owner.
    if (seen.verdict === "running" && seen.health?.identity === "owner") return new Answered({ status: ExitStatus.ok })
    yield* notice(describe(seen, yield* HostPlatform), "ERROR")
    return new Answered({ status: ExitStatus.failure })
  }).pipe(Effect.provide(Inspected.layer))
