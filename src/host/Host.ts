/**
 * Access to the machine: one module for each capability, with its tag and its live layer. `Gateway.layerNode` provides all
 * capabilities that a gateway needs. To replace one capability, for example in a test, provide your own layer for it, as in
 * the example.
 *
 * @example
 * import { Layer } from "effect"
 * import { Gateway, Host } from "gateway-lock"
 *
 * // In a test: a file system without kernel locks.
 * const Main = Gateway.layerPlatform({ port: 18789 }).pipe(
 *   Layer.provide(Host.KernelLock.layerAbsent("tried without")),
 *   Layer.provide(Gateway.layerNode)
 * )
 *
 * @since 0.1.0
 */
export * as HostPlatform from "./HostPlatform.ts"
export * as InstanceId from "./InstanceId.ts"
export * as KernelLock from "./KernelLock.ts"
export * as OpenLockFiles from "./OpenLockFiles.ts"
export * as PlatformFolders from "./PlatformFolders.ts"
export * as PortOwners from "./PortOwners.ts"
export * as ProbeTransport from "./ProbeTransport.ts"
export * as ProcessEnd from "./ProcessEnd.ts"
export * as ProcessTable from "./ProcessTable.ts"
export * as Signals from "./Signals.ts"
export * as UserId from "./UserId.ts"
