/**
 * The monotonic clock of a simulated host. It can run faster or slower than the clock of the simulation. While the host is paused, as
 * a virtual machine is by its hypervisor, it stands still.
 */
import * as Effect from "effect/Effect"

export interface HostClock {
  /** How fast the clock runs while the host is not paused. */
  rate: number
  /** A latch that is closed while the host is paused. */
  readonly power: Effect.Latch
  isPaused: boolean
  /** The last change of the speed: what both clocks showed then, in nanoseconds. */
  origin: { readonly simulation: bigint; readonly host: bigint }
  /** The number of changes of the speed. */
  changes: number
}

export const make = (): HostClock => ({
  rate: 1,
  power: Effect.unsafeMakeLatch(true),
  isPaused: false,
  origin: { simulation: 0n, host: 0n },
  changes: 0
})

const speedOf = ({ isPaused, rate }: HostClock): number => isPaused ? 0 : rate

/** What the clock of the host shows when the clock of the simulation shows `simulation`, both in nanoseconds. */
export const at = (clock: HostClock, simulation: bigint): bigint => {
  const { origin } = clock
  const speed = speedOf(clock)
  const passed = simulation - origin.simulation
  return origin.host + (speed === 1 ? passed : BigInt(Math.floor(Number(passed) * speed)))
}

/** The nanoseconds of the simulation in which the clock of a running host advances by `nanos`. */
export const stretch = ({ rate }: HostClock, nanos: bigint): bigint =>
  rate === 1 ? nanos : BigInt(Math.ceil(Number(nanos) / rate))

/** Changes the speed at a moment of the simulation. */
export const change = (
  clock: HostClock,
  simulation: bigint,
  to: { readonly rate?: number; readonly isPaused?: boolean }
) => {
  clock.origin = { simulation, host: at(clock, simulation) }
  clock.rate = to.rate ?? clock.rate
  clock.isPaused = to.isPaused ?? clock.isPaused
  clock.changes += 1
}
