/**
 * Exactly one gateway per base port on a host.
 *
 * @since 0.1.0
 */
export * as Gateway from "./Gateway.ts"
export * as GatewayConfig from "./GatewayConfig.ts"
export * as GatewayLockError from "./GatewayLockError.ts"
export * as InstanceId from "./InstanceId.ts"
export * as KernelLock from "./lock/KernelLock.ts"
export * as LockFile from "./lock/LockFile.ts"
export * as OwnerRecord from "./lock/OwnerRecord.ts"
export * as ProcessTable from "./lock/ProcessTable.ts"
export * as Staleness from "./lock/Staleness.ts"
export * as Metrics from "./Metrics.ts"
export * as PlatformFolders from "./PlatformFolders.ts"
export * as Address from "./port/Address.ts"
export * as DrainCut from "./port/DrainCut.ts"
export * as HealthProbe from "./port/HealthProbe.ts"
export * as Lifecycle from "./port/Lifecycle.ts"
export * as Listener from "./port/Listener.ts"
export * as NodeServerSocket from "./port/NodeServerSocket.ts"
export * as PortProbe from "./port/PortProbe.ts"
export * as ProbeTransport from "./port/ProbeTransport.ts"
export * as ServerSocket from "./port/ServerSocket.ts"
export * as ProcessMetrics from "./server/ProcessMetrics.ts"
export * as PrometheusMetrics from "./server/PrometheusMetrics.ts"
