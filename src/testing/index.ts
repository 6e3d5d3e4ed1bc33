/**
 * A simulated host in memory, for your own tests.
 *
 * @since 0.1.0
 */
export * as SimulatedClock from "./SimulatedClock.ts"
export * as SimulatedHost from "./SimulatedHost.ts"
export * as SimulatedKernel from "./SimulatedKernel.ts"
export * as SimulatedLeaseStore from "./SimulatedLeaseStore.ts"
export * as SimulatedPorts from "./SimulatedPorts.ts"
export * as SimulatedScheduler from "./SimulatedScheduler.ts"
