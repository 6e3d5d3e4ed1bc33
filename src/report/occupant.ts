/**
 * Finds the process that uses a port, after a start has failed because the port is in use. The process is another gateway, a
 * system service, or any other process that listens. Other gateways are found in the same way as by the command `gateway list`.
 * This module is loaded only if the error of the start does not name the process.
 */
import * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Address } from "../Address.ts"
import { type GatewayLockError, type Holder, OwnerHealthy, OwnerUnhealthy, PortInUse } from "../GatewayLockError.ts"
import * as OpenLockFiles from "../host/OpenLockFiles.ts"
import * as PortOwners from "../host/PortOwners.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import * as GatewayList from "../inspect/GatewayList.ts"
import * as SystemServices from "../inspect/SystemServices.ts"

/** A process that listens on the port and is neither a known gateway nor a known system service. */
export interface Listener {
  readonly pid: number
  readonly command?: string
}

/**
 * The gateway that uses the port, found by the lock files on this host. This gateway is the owner of one of these locks. Either
 * the answer from the port has the owner's instance id, or the owner's process listens on the port.
 */
const gatewayAt = ({ port }: Address, listener: Listener | undefined) =>
  Effect.map(GatewayList.list({ listeners: false }), ({ gateways }): Holder | undefined => {
    const owner = gateways.find((gateway) =>
      gateway.lock.state === "held" && gateway.port?.from === "owner" && gateway.port.port === port
      && (gateway.health?.identity === "owner"
        || (gateway.owner?.pidMeaning === "Alive" && gateway.owner.pid === listener?.pid))
    )?.owner
    if (owner === undefined) return undefined
    const { profile: _profile, supervisorReason: _reason, ...holder } = owner
    return holder
  })

/** The process that listens on an address. */
const listenerAt = (address: Address) =>
  Effect.gen(function*() {
    const { listeners } = yield* PortOwners.PortOwners
    const table = yield* ProcessTable
    const seen = yield* listeners(address.port)
    const pid = seen._tag === "Seen"
      ? PortOwners.listenersAt(address, seen.listeners).find((listener) => listener.pid !== undefined)?.pid
      : undefined
    if (pid === undefined) return undefined
    const command = Option.getOrUndefined(yield* table.commandName(pid))
    return { pid, ...(command === undefined ? {} : { command }) }
  })

export interface Found {
  /** The error, with the holder added if another gateway's lock or systemd names that holder. */
  readonly error: GatewayLockError
  readonly listener: Listener | undefined
}

/** An error about a port that another process uses. */
export type Occupied = PortInUse | OwnerHealthy | OwnerUnhealthy

const withHolder = (error: Occupied, holder: Holder): GatewayLockError => {
  switch (error._tag) {
    case "PortInUse": {
      const { host, listener, port } = error
      return new PortInUse({ host, port, holder, ...(listener === undefined ? {} : { listener }) })
    }
    case "OwnerHealthy": {
      const { host, port, supervisor } = error
      return new OwnerHealthy({ host, port, supervisor, holder })
    }
    case "OwnerUnhealthy": {
      const { host, port, supervisor, timeout } = error
      return new OwnerUnhealthy({ host, port, supervisor, timeout, holder })
    }
  }
}

/**
 * The system service that uses the port. `None` if there is no `CommandExecutor`, because `systemctl` cannot be run without it.
 */
const serviceOn = ({ port }: Address) =>
  Effect.flatMap(
    Effect.serviceOption(CommandExecutor.CommandExecutor),
    Option.match({
      onNone: () => Effect.succeedNone,
      onSome: (executor) =>
        Effect.provideService(SystemServices.holderOn(port), CommandExecutor.CommandExecutor, executor)
    })
  )

/** Looks for the process that uses the port. Never fails. */
export const find = (error: Occupied): Effect.Effect<Found, never, GatewayList.Requirements> =>
  Effect.gen(function*() {
    const listener = yield* listenerAt(error)
    const holder = (yield* gatewayAt(error, listener)) ?? Option.getOrUndefined(yield* serviceOn(error))
    return holder === undefined
      ? { error, listener } satisfies Found
      : { error: withHolder(error, holder), listener: undefined } satisfies Found
  })

/** Runs `find` with the services that look at this machine. */
export const findLive = (error: Occupied) =>
  find(error).pipe(Effect.provide(OpenLockFiles.layerLive), Effect.provide(PortOwners.layerLive))
