/**
 * The simulated process in which a program runs, for simulated services that are made outside of any process, such as a store on
 * another host.
 */
import * as Context from "effect/Context"
import type { KernelProcess, SimulatedKernel } from "./SimulatedKernel.ts"

export class CurrentProcess extends Context.Tag("gateway-lock/testing/CurrentProcess")<CurrentProcess, {
  readonly kernel: SimulatedKernel
  readonly process: KernelProcess
}>() {}
