/**
 * The modules of `gateway exec` that a simulation tests. This module exports them together, so that a simulation can use a mutant (a
 * version with one mistake) instead.
 */
export { execWith } from "../../src/cli/exec.ts"
export * as LockFile from "../../src/lock/LockFile.ts"
export * as HealthProbe from "../../src/probe/HealthProbe.ts"
export * as PortProbe from "../../src/probe/PortProbe.ts"
export * as StopOwner from "../../src/stop/StopOwner.ts"
export * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
