/**
 * The gateways of this user, as a status page shows them.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import type { KernelLock } from "../host/KernelLock.ts"
import * as OpenLockFiles from "../host/OpenLockFiles.ts"
import type { PlatformFolders } from "../host/PlatformFolders.ts"
import { PortOwners } from "../host/PortOwners.ts"
import type { ProbeTransport } from "../host/ProbeTransport.ts"
import type { ProcessTable } from "../host/ProcessTable.ts"
import * as GatewayList from "../inspect/GatewayList.ts"
import type { GatewayStatus } from "../inspect/GatewayStatus.ts"
import type { Neighbour } from "./StatusFrame.ts"

/**
 * What looking for the user's other gateways needs from the machine.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements = FileSystem.FileSystem | KernelLock | ProcessTable | ProbeTransport | PlatformFolders

/**
 * What is shown of one. Pure.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toNeighbour = ({ configPath, lock, owner, profile, stateDir, verdict }: GatewayStatus): Neighbour => {
  const config = configPath ?? owner?.configPath
  return {
    ...(profile === undefined ? {} : { profile }),
    stateDir,
    lockPath: lock.path,
    ...(config === undefined ? {} : { configPath: config }),
    verdict,
    ...(owner === undefined ? {} : { pid: owner.pid, host: owner.host, port: owner.port, since: owner.since })
  }
}

/** Who listens on their ports is not looked for: it costs more than all the rest, and is not shown. */
const unasked = PortOwners.of({
  blocker: () => Effect.succeedNone,
  listeners: () => Effect.succeed({ _tag: "Unseen", reason: "not looked for" })
})

/**
 * Looks for all of them, this one too. Changes nothing.
 *
 * @since 0.1.0
 * @category reading
 */
export const look: Effect.Effect<ReadonlyArray<Neighbour>, never, Requirements> = GatewayList.list({ listeners: false })
  .pipe(
    Effect.map(({ gateways }) => gateways.map(toNeighbour)),
    Effect.provide(OpenLockFiles.layerLive),
    Effect.provideService(PortOwners, unasked)
  )
