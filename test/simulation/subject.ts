/**
 * The modules that a simulation tests. This module exports them together, so that a simulation can use a mutant (a version
 * with one mistake) instead.
 */
export * as ExitStatus from "../../src/cli/ExitStatus.ts"
export * as GatewayInstance from "../../src/gateway/GatewayInstance.ts"
export * as LockFile from "../../src/lock/LockFile.ts"
export * as LockInspection from "../../src/lock/LockInspection.ts"
export * as LossReport from "../../src/lock/LossReport.ts"
export * as HealthProbe from "../../src/probe/HealthProbe.ts"
export * as Recovery from "../../src/supervisor/Recovery.ts"
export * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
