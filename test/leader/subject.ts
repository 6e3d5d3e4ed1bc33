/**
 * The modules of leadership that a simulation tests. This module exports them together, so that a simulation can use a mutant (a
 * version with one mistake) instead.
 */
export { provesDeath } from "../../src/leader/DeathProof.ts"
export { HighestToken } from "../../src/leader/HighestToken.ts"
export * as Leadership from "../../src/leader/Leadership.ts"
export * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
export * as SimulatedLeaseStore from "../../src/testing/SimulatedLeaseStore.ts"
