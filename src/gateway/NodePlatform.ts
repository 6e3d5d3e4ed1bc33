/**
 * The services that a gateway needs from the machine, and their layer for Node. Exported by `Gateway`.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Layer from "effect/Layer"
import * as KernelLock from "../host/KernelLock.ts"
import * as OpenLockFiles from "../host/OpenLockFiles.ts"
import * as PlatformFolders from "../host/PlatformFolders.ts"
import * as PortOwners from "../host/PortOwners.ts"
import * as ProbeTransport from "../host/ProbeTransport.ts"
import * as ProcessTable from "../host/ProcessTable.ts"
import * as Signals from "../host/Signals.ts"
import * as OwnerWatch from "../probe/OwnerWatch.ts"
import * as NodeServerSocket from "../server/node/NodeServerSocket.ts"
import type { ServerSocket } from "../server/ServerSocket.ts"

/**
 * The services that a gateway needs from the machine. The module of each service has its live layer, and
 * `gateway-lock/testing` has in-memory layers.
 *
 * @since 0.1.0
 * @category models
 */
export type Platform =
  | FileSystem.FileSystem
  | KernelLock.KernelLock
  | ProcessTable.ProcessTable
  | ProbeTransport.ProbeTransport
  | ServerSocket

/**
 * The services of the operating system, for `layerPlatform` and for each module that is used without a gateway. The simulated
 * host of `gateway-lock/testing` provides the same services in memory.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway, LockFile } from "gateway-lock"
 *
 * // A module that is used without a gateway needs this layer. Here `LockFile` reads which process has the lock of another app.
 * const owner = LockFile.readOwner("/var/lib/importer/locks/gateway.state.lock").pipe(
 *   Effect.provide(Gateway.layerNode)
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layerNode: Layer.Layer<
  | Platform
  | PlatformFolders.PlatformFolders
  | OwnerWatch.OwnerWatch
  | PortOwners.PortOwners
  | OpenLockFiles.OpenLockFiles
  | Signals.Signals
  | NodeContext.NodeContext
> = Layer.mergeAll(
  KernelLock.layerLive,
  ProcessTable.layerLive,
  ProbeTransport.layerLive,
  OwnerWatch.layerLive,
  NodeServerSocket.layer,
  PlatformFolders.layerLive,
  PortOwners.layerLive,
  OpenLockFiles.layerLive,
  Signals.layerLive
).pipe(Layer.provideMerge(NodeContext.layer))
