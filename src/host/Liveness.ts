/**
 * Whether a recorded process still runs, by what the system says of its pid. Pure.
 *
 * @since 0.1.0
 */
import type { Liveness, ProcessIdentity } from "./ProcessIdentity.ts"

/**
 * What the operating system says of one pid.
 *
 * `Absent`: no such process (`ESRCH`), or only a thread or a dead process under that number.
 * `Hidden`: it exists and nothing more can be read.
 *
 * @since 0.1.0
 * @category models
 */
export type Sighting =
  | { readonly _tag: "Absent" }
  | { readonly _tag: "Hidden" }
  | { readonly _tag: "Present"; readonly startTime: number }

/**
 * The three of them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const Sighting = {
  absent: { _tag: "Absent" } as const,
  hidden: { _tag: "Hidden" } as const,
  present: (startTime: number): Sighting => ({ _tag: "Present", startTime })
}

/**
 * How a recorded start time compares with the one that the system has, in the unit of `startTime`. A number is a `tolerance`
 * alone.
 *
 * @since 0.1.0
 * @category models
 */
export interface Comparison {
  /** How far apart two readings of one start time can be. */
  readonly tolerance: number
  /**
   * How much later than the system's the recorded time may be: for one that a process read by its own clock, when its exec
   * was done. Default 0: both are the system's.
   */
  readonly startLag?: number | undefined
  /** Whether the system has the same time for a process as long as it lives. Default `true`. */
  readonly isFixed?: boolean | undefined
}

/**
 * Compares a recorded process with what was seen under its pid. Pure.
 *
 * - Another PID namespace or another boot: `Unknown`. The pid means nothing here; after a reboot as well as
 *   for a neighbour on a shared folder, and nothing in a record tells those two apart.
 * - Nobody under the pid: `Gone`.
 * - Somebody whose start time cannot be compared: `Unknown`.
 * - Start times more than the tolerance apart: the pid was given to another process, `Gone`.
 *
 * A process that read its start by its own clock did so at the end of its exec, at the time that the system has for it or
 * later. So only a process that started later than recorded is another one. A much earlier one is none that a pid was given
 * to after the record, and perhaps not the recorded one either (a record of another machine): `Unknown`.
 *
 * @since 0.1.0
 * @category decisions
 */
export const judge = (
  self: ProcessIdentity,
  recorded: ProcessIdentity,
  sighting: Sighting,
  comparison: number | Comparison
): Liveness => {
  const { isFixed = true, startLag = 0, tolerance } = typeof comparison === "number"
    ? { tolerance: comparison }
    : comparison
  if (recorded.pidNamespace !== self.pidNamespace || recorded.bootId !== self.bootId) return "Unknown"
  switch (sighting._tag) {
    case "Absent":
      return "Gone"
    case "Hidden":
      return "Unknown"
    case "Present":
      if (recorded.startTime === undefined) return "Unknown"
      if (sighting.startTime - recorded.startTime > tolerance) return isFixed ? "Gone" : "Unknown"
      if (recorded.startTime - sighting.startTime <= tolerance + startLag) return "Alive"
      return startLag === 0 && isFixed ? "Gone" : "Unknown"
  }
}

/**
 * Whether a record names an earlier process that had this process's pid: the same pid, PID namespace and boot, and start
 * times more than `tolerance` apart. With the same start time it names this very process, which lives; with another boot,
 * perhaps a process of another machine: every machine's first PID namespace has the same name.
 *
 * @since 0.1.0
 * @category decisions
 */
export const isPredecessor = (self: ProcessIdentity, recorded: ProcessIdentity, tolerance: number): boolean =>
  recorded.pid === self.pid && recorded.pidNamespace === self.pidNamespace && recorded.bootId === self.bootId
  && recorded.startTime !== undefined && self.startTime !== undefined
  && Math.abs(recorded.startTime - self.startTime) > tolerance
