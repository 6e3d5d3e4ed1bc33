/**
 * The parts from which `ProcessTable.ts` makes a process table, which answers questions about processes. A `Source` has one
 * platform's facts about all processes. A `ProcessHandle` has the facts about this process.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { codeOf } from "../internal/errno.ts"
import { type Comparison, Sighting } from "./Liveness.ts"
import type { ProcessIdentity } from "./ProcessIdentity.ts"
import type { ProcessEntry } from "./ProcessTree.ts"

/**
 * Whether a process uses the same network as this process.
 *
 * - `Same`: the same network namespace. On a platform without network namespaces, this is always the result.
 * - `Other`: another network namespace, which has its own ports (network_namespaces(7)).
 * - `Unknown`: the network namespace cannot be read.
 *
 * @since 0.1.0
 * @category models
 */
export type Network = "Same" | "Other" | "Unknown"

/**
 * The facts that a platform provides about processes. `ProcessTable.make` makes a process table from them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Source {
  /** The identity of this process. Parts that the platform does not provide are absent. */
  readonly self: Effect.Effect<ProcessIdentity>
  /** Looks up a pid. */
  readonly look: (pid: number) => Effect.Effect<Sighting>
  /** The program's file name, without arguments. */
  readonly commandName: (pid: number) => Effect.Effect<Option.Option<string>>
  /** Whether a process uses the same network as this process. */
  readonly network: (pid: number) => Effect.Effect<Network>
  /**
   * All running processes with their parents. Absent if the platform does not show the parents. The tree of a process then consists
   * of that process alone.
   */
  readonly processes?: Effect.Effect<ReadonlyArray<ProcessEntry>> | undefined
  /** How far two readings of one start time can differ, in the unit of `startTime`. */
  readonly tolerance: number
  /**
   * How much later the recorded start time of a process may be than the start time that the system reports for it: the `startLag`
   * of `Comparison`. Default 0.
   */
  readonly startLag?: number | undefined
  /** Whether a process keeps its start time for as long as it lives: the `isFixed` of `Comparison`. Default `true`. */
  readonly isFixed?: boolean | undefined
}

/**
 * The facts and operations of this process. Tests replace them.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessHandle {
  readonly pid: number
  /** A value of `process.platform`. */
  readonly platform: string
  /**
   * When this process started, in milliseconds since the epoch. All threads of the process have the same value. This value is
   * used on platforms where only another program, such as ps(1), can read the start time from the system.
   */
  readonly startedAt: number
  /** Calls kill(2). If that fails, throws an error whose `code` is `ESRCH` or `EPERM`. */
  readonly kill: (pid: number, signal: 0) => boolean
}

/**
 * The facts and operations of the process that runs this code.
 *
 * @since 0.1.0
 * @category constructors
 */
export const currentProcess = (): ProcessHandle => ({
  pid: process.pid,
  platform: process.platform,
  // Read on use, because Node loads `performance` on its first use, and most platforms do not need this value.
  get startedAt() {
    return performance.timeOrigin
  },
  kill: (pid, signal) => process.kill(pid, signal)
})

/**
 * Whether a process exists, by signal 0 of kill(2). Only `ESRCH` proves that the process does not exist. `EPERM` means that
 * the process exists and belongs to another user.
 */
export const exists = (handle: ProcessHandle, pid: number): Effect.Effect<boolean> =>
  Effect.try(() => handle.kill(pid, 0)).pipe(
    Effect.match({ onSuccess: () => true, onFailure: ({ error }) => codeOf(error) !== "ESRCH" })
  )

/**
 * Looks up a pid. `read` is the platform's way to read the process, and returns `None` if the process cannot be read. After
 * `None`, a second check of the pid decides whether the process has ended meanwhile or is hidden.
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
 * How far `ProcessHandle.startedAt` can differ from the system's start time of the same process, in milliseconds. The `tolerance`
 * is needed because ps(1) shows whole seconds. The `startLag` is needed because Node sets `startedAt` only after the system has
 * loaded Node. Loading can take up to a minute from a slow disk or through a virus scanner.
 *
 * On macOS the system's start time is the wall clock at the fork (apple-oss-distributions/xnu, bsd/kern/kern_fork.c, `p_start`).
 * On Windows it is the wall clock at the creation (`Win32_Process.CreationDate`). Neither of these start times changes when the
 * clock is set.
 */
export const ownClock = { tolerance: 2000, startLag: 60_000 } as const satisfies Comparison
