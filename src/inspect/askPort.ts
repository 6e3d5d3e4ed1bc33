/**
 * Inspects a gateway's port: what answers, whether it is healthy, and which processes listen.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { Address } from "../Address.ts"
import type { Ready } from "../GatewayLockError.ts"
import { listenersAt, type PortListeners, PortOwners } from "../host/PortOwners.ts"
import { type Network, ProcessTable } from "../host/ProcessTable.ts"
import type * as LockInspection from "../lock/LockInspection.ts"
import * as OwnerRecord from "../lock/OwnerRecord.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"
import * as PortProbe from "../probe/PortProbe.ts"
import { listenersOf, whoseListener } from "../ready/OwnerProcesses.ts"
import * as ReadyRule from "../ready/ReadyRule.ts"
import { statusAt } from "../ready/statusAt.ts"
import type { Evidence } from "./judge.ts"
import type { Health, Port } from "./StatusModel.ts"

/**
 * How to inspect a port.
 *
 * @since 0.1.0
 * @category models
 */
export interface LookOptions {
  /** How the health is probed, such as the time limit of a probe. */
  readonly health?: HealthProbe.HealthProbeOptions | undefined
  /** Whether to find the processes that listen. Default `true`. */
  readonly listeners?: boolean | undefined
}

const states = { Free: "free", Gateway: "gateway", Foreign: "foreign", Stalled: "stalled" } as const

const describeHealth = (answer: PortProbe.PortState, owner: LockInspection.Owner | undefined): Health => {
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

/**
 * Finds the listeners on an address. `isOwner` of a listener is true if the listener belongs to the owner's process. If the owner's
 * record has a readiness rule, `isOwner` is also true if the listener belongs to a process that the owner started.
 */
const askListeners = (
  address: Address,
  { lockPath, owner, ready }: Asked,
  options: LookOptions
) =>
  Effect.gen(function*() {
    if (
      owner !== undefined && ready !== undefined
      && (ReadyRule.needsListeners(ready) || options.listeners !== false)
    ) {
      return yield* listenersOf(owner, address, lockPath)
    }
    const alive = owner?.holder.pidMeaning === "Alive" ? [owner.process.pid] : []
    const owners = yield* PortOwners
    const seen = options.listeners === false ? noListeners : yield* owners.listeners(address.port, alive)
    return {
      seen,
      listeners: (seen._tag === "Seen" ? listenersAt(address, seen.listeners) : []).map((listener) => ({
        ...listener,
        isOwner: listener.pid !== undefined && alive.includes(listener.pid)
      }))
    }
  })

/** How long a probe may take to be refused before the operating system is asked for the listeners as well. */
const headStart = Duration.millis(50)

/**
 * Probes a port that has no owner, and asks the operating system for its listeners only if a listener is possible. A connection that is
 * refused shows that there is none, and Linux needs eight milliseconds to say the same: it looks through its whole table of connections.
 * A slow probe and the question run at the same time, so that both take no longer than the slower one.
 */
const askUnowned = <E, R, E2, R2>(
  probe: Effect.Effect<PortProbe.PortState, E, R>,
  listeners: Effect.Effect<Effect.Effect.Success<ReturnType<typeof askListeners>>, E2, R2>
) =>
  Effect.gen(function*() {
    const probing = yield* Effect.fork(probe)
    const early = yield* Effect.timeoutOption(Fiber.join(probing), headStart)
    if (Option.isSome(early) && early.value._tag === "Free" && early.value.unreachable !== true) {
      return [early.value, { seen: noListeners, listeners: [] }, undefined] as const
    }
    const [answer, found] = yield* Effect.all([Fiber.join(probing), listeners], { concurrency: "unbounded" })
    return [answer, found, undefined] as const
  })

/** The inspected lock file, and the owner whose port is probed. */
export interface Asked {
  readonly lockPath: string
  readonly owner: LockInspection.Owner | undefined
  /** The rule for the owner's health. Set only while a process holds the lock. */
  readonly ready: Ready | undefined
}

/** Derives an owner's health from `rule`. `status` is the HTTP status of the answer at the path that the rule names, if any. */
const describeReady = (
  rule: Ready,
  owner: LockInspection.Owner,
  listener: ReadyRule.Evidence["listener"],
  status: number | undefined
): Health => {
  const { detail, healthy } = ReadyRule.judge({
    rule,
    phase: owner.record.phase,
    listener,
    status,
    awaitsLease: OwnerRecord.awaitedLease(owner.record)
  })
  return {
    healthy,
    identity: healthy || listener === "owner" ? "owner" : listener === "other" ? "other" : "unknown",
    rule,
    detail
  }
}

/** The health of an owner that has no port. `undefined` if the owner has no rule for its health, because no port can be probed. */
export const healthWithoutPort = ({ owner, ready }: Asked): Health | undefined =>
  owner === undefined || ready === undefined ? undefined : describeReady(ready, owner, "none", undefined)

/**
 * Probes a port by HTTP and, at the same time, asks the operating system which processes listen on it. If the owner has a rule for
 * its health, also gathers what that rule depends on.
 */
export const askPort = (
  address: Address,
  from: Port["from"],
  asked: Asked,
  options: LookOptions
) =>
  Effect.gen(function*() {
    const { owner, ready } = asked
    const table = yield* ProcessTable
    const health = yield* HealthProbe.make(options.health)
    const ports = yield* Effect.provideService(PortProbe.make, HealthProbe.HealthProbe, health)
    const path = ready === undefined ? undefined : ReadyRule.pathOf(ready)
    const [answer, { listeners, seen }, status] = owner === undefined
      ? yield* askUnowned(ports.probe(address), askListeners(address, asked, options))
      : yield* Effect.all([
        ports.probe(address),
        askListeners(address, asked, options),
        path === undefined ? Effect.succeed(undefined) : statusAt(address, path, options.health)
      ], { concurrency: "unbounded" })
    const shown = yield* Effect.forEach(listeners, ({ host, isOwner, pid }) =>
      Effect.gen(function*() {
        if (pid === undefined) return { host, isOwner }
        const command = yield* table.commandName(pid)
        return { host, pid, ...(Option.isSome(command) ? { command: command.value } : {}), isOwner }
      }))
    const port: Port = {
      host: address.host,
      port: address.port,
      from,
      state: states[answer._tag],
      listeners: shown,
      ...(seen._tag === "Unseen" ? { listenersUnknown: seen.reason } : {})
    }
    return {
      port,
      health: owner === undefined || ready === undefined
        ? describeHealth(answer, owner)
        : describeReady(ready, owner, whoseListener(seen, listeners, answer._tag === "Free"), status),
      /** What answers on the port, in words. */
      detail: describeHealth(answer, owner).detail,
      unreachable: answer._tag === "Free" && answer.unreachable === true
    }
  })

/**
 * Whether one of the listening processes is the lock's owner, compared by pid. `other` means that no listener is the owner. This is
 * certain if every listener's pid is visible and the owner's pid belongs to a process that lives (`Alive`). It is also certain if
 * the owner is in another network namespace, because the owner then has no listener in this one.
 */
export const listenerIdentity = (
  { listeners }: Port,
  owner: LockInspection.Owner | undefined,
  network: Network
): Evidence["listener"] => {
  if (listeners.some(({ isOwner }) => isOwner)) return "owner"
  if (network === "Other") return "other"
  return owner?.holder.pidMeaning === "Alive" && listeners.length > 0 && listeners.every(({ pid }) => pid !== undefined)
    ? "other"
    : "unknown"
}
