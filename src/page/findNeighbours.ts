/**
 * Finds the gateways of this user, for `Neighbours`. Loaded when somebody watches for the first time.
 */
import * as Effect from "effect/Effect"
import * as OpenLockFiles from "../host/OpenLockFiles.ts"
import { PortOwners } from "../host/PortOwners.ts"
import * as GatewayList from "../inspect/GatewayList.ts"
import type { GatewayStatus } from "../inspect/GatewayStatus.ts"
import type { Requirements } from "./Neighbours.ts"
import type { Neighbour } from "./StatusFrame.ts"

/** What is shown of one. Pure. */
const toNeighbour = ({ configPath, lock, owner, profile, stateDir, verdict }: GatewayStatus): Neighbour => {
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

/** Looks for all of them, this one too. Changes nothing. */
export const findNeighbours: Effect.Effect<ReadonlyArray<Neighbour>, never, Requirements> = GatewayList.list({
  listeners: false
}).pipe(
  Effect.map(({ gateways }) => gateways.map(toNeighbour)),
  Effect.provide(OpenLockFiles.layerLive),
  Effect.provideService(PortOwners, unasked)
)
