/**
 * What a table of processes is made from: what each platform provides, and what only the process itself can give.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { codeOf } from "../internal/errno.ts"
import { type Comparison, Sighting } from "./Liveness.ts"
import type { ProcessIdentity } from "./ProcessIdentity.ts"

/**
 * In which network a process is, compared with this one.
 *
 * - `Same`: the same network namespace; everywhere on a platform that has none.
 * - `Other`: another one, with ports of its own (network_namespaces(7)).
 * - `Unknown`: it cannot be read.
 *
 * @since 0.1.0
 * @category models
 */
export type Network = "Same" | "Other" | "Unknown"

/**
 * What each platform provides; `make` does the rest.
 *
 * @since 0.1.0
 * @category models
 */
export interface Source {
  /** This process, with what the platform can tell of it. */
  readonly self: Effect.Effect<ProcessIdentity>
  /** What is to be seen under a pid now. */
  readonly look: (pid: number) => Effect.Effect<Sighting>
  /** The program's file name, without arguments. */
  readonly commandName: (pid: number) => Effect.Effect<Option.Option<string>>
  /** In which network a process is. */
  readonly network: (pid: number) => Effect.Effect<Network>
  /** How far apart two readings of one start time can be, in the unit of `startTime`. */
  readonly tolerance: number
  /** As in `Comparison`. */
  readonly startLag?: number | undefined
  /** As in `Comparison`. */
  readonly isFixed?: boolean | undefined
}

/**
 * What only the process itself can give.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessHandle {
  readonly pid: number
  /** As `process.platform` has it. */
  readonly platform: string
  /**
   * When this process started, milliseconds since the epoch; the same in each of its threads. Used where asking the system
   * would mean starting a program.
   */
  readonly startedAt: number
  /** kill(2): throws an error with `code` `ESRCH` or `EPERM`. */
  readonly kill: (pid: number, signal: 0) => boolean
}

/**
 * This very process.
 *
 * @since 0.1.0
 * @category constructors
 */
export const currentProcess = (): ProcessHandle => ({
  pid: process.pid,
  platform: process.platform,
  startedAt: performance.timeOrigin,
  kill: (pid, signal) => process.kill(pid, signal)
})

/** The signal-0 question of kill(2): `ESRCH` is the only proof of absence, `EPERM` means it exists. */
const exists = (handle: ProcessHandle, pid: number): Effect.Effect<boolean> =>
  Effect.try(() => handle.kill(pid, 0)).pipe(
    Effect.match({ onSuccess: () => true, onFailure: ({ error }) => codeOf(error) !== "ESRCH" })
  )

/**
 * What is to be seen under a pid, by what a platform reads of its process: `None` where nothing can be read. Then it may have ended
 * between the two questions; else it is hidden.
 */
export const lookBy = (
  handle: ProcessHandle,
  pid: number,
  read: Effect.Effect<Option.Option<Sighting>>
): Effect.Effect<Sighting> =>
  Effect.gen(function*() {
    if (!(yield* exists(handle, pid))) return Sighting.absent
    const seen = yield* read
    if (Option.isSome(seen)) return seen.value
    return (yield* exists(handle, pid)) ? Sighting.hidden : Sighting.absent
  })

/**
 * Between the system's start time, to the second for ps(1), and `ProcessHandle.startedAt`, in milliseconds. A Node from a slow
 * disk, or under a virus scanner, may take a minute to take its own.
 *
 * The system's is the wall clock of the fork on macOS (apple-oss-distributions/xnu, bsd/kern/kern_fork.c, `p_start`) and of
 * the creation on Windows (`Win32_Process.CreationDate`). It does not move when the clock is set.
 */
export const ownClock = { tolerance: 2000, startLag: 60_000 } as const satisfies Comparison
