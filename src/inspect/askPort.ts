/**
 * Inspects a gateway's port: what answers, whether it is healthy, and which processes listen.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Address } from "../Address.ts"
import { listenersAt, type PortListeners, PortOwners } from "../host/PortOwners.ts"
import { type Network, ProcessTable } from "../host/ProcessTable.ts"
import type * as LockInspection from "../lock/LockInspection.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"
import * as PortProbe from "../probe/PortProbe.ts"
import type { Evidence } from "./judge.ts"
import type { Health, Port } from "./StatusModel.ts"

/**
 * How to inspect a port.
 *
 * @since 0.1.0
 * @category models
 */
export interface LookOptions {
  /** How the health of the port is probed. */
  readonly health?: HealthProbe.HealthProbeOptions | undefined
  /** Whether to find the processes that listen. Default `true`. */
  readonly listeners?: boolean | undefined
}

const states = { Free: "free", Gateway: "gateway", Foreign: "foreign", Stalled: "stalled" } as const

const describeHealth = (answer: PortProbe.PortState, owner: LockInspection.Owner | undefined): typeof Health.Type => {
  switch (answer._tag) {
    case "Free":
      return {
        healthy: false,
        identity: "unknown",
        detail: answer.unreachable === true ? "it cannot be reached from here" : "nothing listens there"
      }
    case "Gateway":
      return {
        healthy: answer.healthy,
        identity: owner === undefined || answer.instanceId === undefined
          ? "unknown"
          : answer.instanceId === owner.record.instanceId
          ? "owner"
          : "other",
        ...(answer.instanceId === undefined ? {} : { instanceId: answer.instanceId }),
        detail: answer.detail
      }
    case "Foreign":
    case "Stalled":
      return { healthy: false, identity: "unknown", detail: `a listener that ${answer.detail}` }
  }
}

const noListeners: PortListeners = { _tag: "Seen", listeners: [] }

/** Probes a port by HTTP and, at the same time, asks the operating system which processes listen on it. */
export const askPort = (
  address: Address,
  from: (typeof Port.Type)["from"],
  owner: LockInspection.Owner | undefined,
  options: LookOptions
) =>
  Effect.gen(function*() {
    const owners = yield* PortOwners
    const table = yield* ProcessTable
    const health = yield* HealthProbe.make(options.health)
    const ports = yield* Effect.provideService(PortProbe.make, HealthProbe.HealthProbe, health)
    const alive = owner?.holder.pidMeaning === "Alive" ? [owner.record.pid] : []
    const [answer, listening] = yield* Effect.all([
      ports.probe(address),
      options.listeners === false ? Effect.succeed(noListeners) : owners.listeners(address.port, alive)
    ], { concurrency: "unbounded" })
    const listeners = yield* Effect.forEach(
      listening._tag === "Seen" ? listenersAt(address, listening.listeners) : [],
      ({ host, pid }) =>
        Effect.gen(function*() {
          if (pid === undefined) return { host, isOwner: false }
          const command = yield* table.commandName(pid)
          return {
            host,
            pid,
            ...(Option.isSome(command) ? { command: command.value } : {}),
            isOwner: alive.includes(pid)
          }
        })
    )
    const port: typeof Port.Type = {
      host: address.host,
      port: address.port,
      from,
      state: states[answer._tag],
      listeners,
      ...(listening._tag === "Unseen" ? { listenersUnknown: listening.reason } : {})
    }
    return {
      port,
      health: describeHealth(answer, owner),
      unreachable: answer._tag === "Free" && answer.unreachable === true
    }
  })

/**
 * Whether the listening processes include the lock's owner, by pid. The answer is `other` only with one of two proofs. Either
 * every listener's pid is visible and the owner's pid is valid in this PID namespace, or the owner is in another network
 * namespace. An owner in another network namespace has no listener in this one.
 */
export const listenerIdentity = (
  { listeners }: typeof Port.Type,
  owner: LockInspection.Owner | undefined,
  network: Network
): Evidence["listener"] => {
  if (listeners.some(({ isOwner }) => isOwner)) return "owner"
  if (network === "Other") return "other"
  return owner?.holder.pidMeaning === "Alive" && listeners.length > 0 && listeners.every(({ pid }) => pid !== undefined)
    ? "other"
    : "unknown"
}
