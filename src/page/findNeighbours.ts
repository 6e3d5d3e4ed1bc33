/**
 * Finds the gateways of this user, for `Neighbours`. The module is loaded when the first client sends `watch` on the
 * control socket (the gateway's own WebSocket), so a gateway without such a client never loads it.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { HostPlatform } from "../host/HostPlatform.ts"
import * as OpenLockFiles from "../host/OpenLockFiles.ts"
import { PlatformFolders } from "../host/PlatformFolders.ts"
import * as PortOwners from "../host/PortOwners.ts"
import * as ProcFiles from "../host/ProcFiles.ts"
import * as GatewayList from "../inspect/GatewayList.ts"
import type { GatewayStatus } from "../inspect/GatewayStatus.ts"
import { gateway, type Surroundings } from "./commands.ts"
import type { Requirements } from "./Neighbours.ts"
import type { Neighbour } from "./StatusFrame.ts"

/** Selects the facts that the status page shows. Pure. */
const toNeighbour = (surroundings: Surroundings) => (status: GatewayStatus): Neighbour => {
  const { configPath, lease, lock, owner, profile, reason, stateDir, verdict } = status
  const config = configPath ?? owner?.configPath
  const { host, port } = { host: owner?.host, port: owner?.port }
  return {
    ...(profile === undefined ? {} : { profile }),
    stateDir,
    lockPath: lock.path,
    ...(config === undefined ? {} : { configPath: config }),
    verdict,
    reason,
    ...(lease === undefined ? {} : { lease }),
    look: gateway("status", { configPath: config, stateDir, host, port }, surroundings),
    ...(owner === undefined ? {} : { pid: owner.pid, since: owner.since }),
    // The port is 0 for an owner that does not listen.
    ...(owner?.port === undefined || owner.port === 0 ? {} : { host: owner.host, port: owner.port })
  }
}

/**
 * A `PortOwners` for other systems than Linux. It never finds a process that listens, because the search would start a program (lsof
 * or netstat). The status page does not show these processes. They matter only for the verdict on an owner whose record has a health
 * rule (`ready`, written by `gateway exec`). If the port of such an owner is in use, its verdict can be `unknown`.
 */
const noPortOwners = PortOwners.PortOwners.of({
  blocker: () => Effect.succeedNone,
  portsOf: () => Effect.succeed([]),
  listeners: () => Effect.succeed({ _tag: "Unseen", reason: "not looked for" })
})

/**
 * A search reads `/proc` for a millisecond of each 20, so that this gateway can answer its clients. All parts of a search share
 * that millisecond.
 */
const pace = {
  reading: Duration.millis(1),
  pause: Duration.millis(19),
  turn: Effect.unsafeMakeSemaphore(1).withPermits(1)
}

/** Finds all gateways of this user, including this one. Read-only. */
export const findNeighbours: Effect.Effect<ReadonlyArray<Neighbour>, never, Requirements> = GatewayList.list({
  listeners: false
}).pipe(
  Effect.flatMap(({ gateways }) =>
    Effect.zipWith(
      PlatformFolders,
      HostPlatform,
      (folders, platform) => gateways.map(toNeighbour({ folders, platform }))
    )
  ),
  Effect.provideService(ProcFiles.Pace, pace),
  Effect.provide(OpenLockFiles.layerLive),
  (search) =>
    Effect.flatMap(HostPlatform, (platform) =>
      platform === "linux"
        ? Effect.provide(search, PortOwners.layerProc)
        : Effect.provideService(search, PortOwners.PortOwners, noPortOwners))
)
