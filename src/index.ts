/**
 * Runs exactly one gateway per base port on a host. A gateway is a server, and its base port is the port in its settings.
 *
 * @since 0.1.0
 */
export * as Doctor from "./doctor/Doctor.ts"
export * as Gateway from "./Gateway.ts"
export * as GatewayLockError from "./GatewayLockError.ts"
export * as Host from "./host/Host.ts"
export * as GatewayList from "./inspect/GatewayList.ts"
export * as GatewayStatus from "./inspect/GatewayStatus.ts"
export * as Leadership from "./leader/Leadership.ts"
export * as LockFile from "./lock/LockFile.ts"
export * as StatusPage from "./page/Page.ts"
export * as HealthProbe from "./probe/HealthProbe.ts"
export * as PortProbe from "./probe/PortProbe.ts"
export * as ErrorReport from "./report/ErrorReport.ts"
export * as Listener from "./server/Listener.ts"
export * as Server from "./server/Server.ts"
export * as GatewayConfig from "./settings/GatewayConfig.ts"
export * as StopOwner from "./stop/StopOwner.ts"
export * as Recovery from "./supervisor/Recovery.ts"
export * as Supervisor from "./supervisor/Supervisor.ts"
export * as Systemd from "./supervisor/Systemd.ts"
export * as Telemetry from "./telemetry/Telemetry.ts"
