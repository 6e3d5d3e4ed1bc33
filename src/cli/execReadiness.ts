/**
 * Finds out whether the command of `gateway exec` is ready.
 */
import * as Effect from "effect/Effect"
import * as PortOwners from "../host/PortOwners.ts"
import type * as ProbeTransport from "../host/ProbeTransport.ts"
import * as ProcessTable from "../host/ProcessTable.ts"
import type { Ready } from "../lock/OwnerRecord.ts"
import { statusAt } from "../ready/statusAt.ts"
import type { GatewayConfig } from "../settings/GatewayConfig.ts"

/** The pids of a process and of all its descendants. */
const familyOf = (pid: number) =>
  Effect.flatMap(
    ProcessTable.ProcessTable,
    ({ tree }) => Effect.map(tree([pid]), (family) => family.map(({ pid }) => pid))
  )

/** Whether a process or one of its descendants listens on a port. */
const listensOn = (port: number, pid: number) =>
  Effect.gen(function*() {
    const family = yield* familyOf(pid)
    const seen = yield* Effect.flatMap(PortOwners.PortOwners, ({ listeners }) => listeners(port, family))
    return seen._tag === "Seen" &&
      seen.listeners.some((listener) => listener.pid !== undefined && family.includes(listener.pid))
  })

/** Whether a path answers with a status of 200 to 299 within the probe timeout. */
const answers = (path: string, { health, host, port }: GatewayConfig) =>
  Effect.map(
    statusAt({ host, port }, path, health),
    (status) => status !== undefined && status >= 200 && status <= 299
  )

/** The services that show whether the command is ready. */
export type Evidence = ProbeTransport.ProbeTransport | PortOwners.PortOwners | ProcessTable.ProcessTable

/** The rule of a command, and for the rule `notify` an effect that asks systemd whether the command has sent `READY=1`. */
export interface Rule {
  readonly name: Ready
  readonly hasNotified: Effect.Effect<boolean>
}

/** Whether the rule holds for the command with this pid. */
export const isReady = (
  { hasNotified, name: rule }: Rule,
  config: GatewayConfig,
  pid: number
): Effect.Effect<boolean, never, Evidence> =>
  rule === "none"
    ? Effect.succeed(true)
    : rule === "notify"
    ? hasNotified
    : rule === "port"
    ? listensOn(config.port, pid)
    // Another program on the port could give the expected answer. So the answer counts only if a process of the command listens.
    : Effect.flatMap(
      listensOn(config.port, pid),
      (listens) => listens ? answers(rule.slice("http:".length), config) : Effect.succeed(false)
    )

/** A rule in words, for the message that it does not hold. */
export const describeRule = (rule: Ready, { port }: GatewayConfig): string =>
  rule === "port"
    ? `it does not listen on port ${port}`
    : rule === "notify"
    ? "it did not send READY=1 to systemd"
    : rule

/** Names the ports on which the command listens, for the warning that the command is not ready. */
export const describePorts = (pid: number) =>
  Effect.gen(function*() {
    const family = yield* familyOf(pid)
    const ports = yield* Effect.flatMap(PortOwners.PortOwners, ({ portsOf }) => portsOf(family))
    return ports.length === 0
      ? "it listens on no port"
      : `it listens on port ${ports.join(" and ")}; many programs take their port from an argument instead of PORT`
  })
