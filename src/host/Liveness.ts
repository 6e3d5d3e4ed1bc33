/**
 * Decides whether the process that a lock file's record names still runs. The decision uses the operating system's information
 * about the pid in the record. Pure.
 *
 * @since 0.1.0
 */
import type { Liveness, ProcessIdentity } from "./ProcessIdentity.ts"

/**
 * The operating system's information about one pid.
 *
 * - `Absent`: there is no such process (`ESRCH`), or the pid is that of a thread or of a process that has ended (a zombie).
 * - `Hidden`: the process exists, but its start time cannot be read.
 * - `Present`: the process exists, and this is its start time.
 *
 * @since 0.1.0
 * @category models
 */
export type Sighting =
  | { readonly _tag: "Absent" }
  | { readonly _tag: "Hidden" }
  | { readonly _tag: "Present"; readonly startTime: number }

/**
 * Constructors of the three cases of a sighting.
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
 * How to compare the recorded start time of a process with the start time that the system reports for the pid. The times are in
 * the unit of `startTime`. Instead of this object, `judge` also accepts a number, which it uses as the `tolerance`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Comparison {
  /** How far two readings of one start time can differ. */
  readonly tolerance: number
  /**
   * How much later than the reported start time the recorded start time may be. On some platforms a process records the time that
   * it reads from its own clock. It can read this clock only after Node has been loaded, so the recorded time is later. With the
   * default 0, both times come from the system.
   */
  readonly startLag?: number | undefined
  /** Whether the system reports the same start time for as long as a process lives. Default `true`. */
  readonly isFixed?: boolean | undefined
}

/**
 * Compares a recorded process with what the operating system reports about its pid (`sighting`). Pure.
 *
 * - Another PID namespace or another boot: `Unknown`, because the pid has no meaning here. The record may be from before a
 *   reboot, or from another machine that shares the folder. The record does not show which of the two is the case.
 * - No process under the pid: `Gone`.
 * - A process whose start time cannot be compared: `Unknown`.
 * - Start times that differ by more than the tolerance: `Gone`, because the pid now belongs to another process. `Unknown` if
 *   `isFixed` is `false`.
 *
 * With a `startLag`, a process records a start time that is not earlier than the start time that the system reports for it. So if
 * the reported time is later than the recorded time, the pid now belongs to another process: `Gone` (`Unknown` if `isFixed` is
 * `false`). If the reported time is much earlier, the result is `Unknown`. The process can then be the recorded process, or another
 * one, for example if the record is from another machine.
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
 * Whether a record names an earlier process that had this process's pid. Pid, PID namespace and boot must be equal, and
 * the start times must differ by more than `tolerance`.
 *
 * A record with the same start time names this process, which is alive. A record with another boot id does not prove that its
 * process has ended, because it may be from another machine that shares the folder. The PID namespace does not tell machines apart,
 * because the first PID namespace has the same name on every machine.
 *
 * @since 0.1.0
 * @category decisions
 */
export const isPredecessor = (self: ProcessIdentity, recorded: ProcessIdentity, tolerance: number): boolean =>
  recorded.pid === self.pid && recorded.pidNamespace === self.pidNamespace && recorded.bootId === self.bootId
  && recorded.startTime !== undefined && self.startTime !== undefined
  && Math.abs(recorded.startTime - self.startTime) > tolerance
