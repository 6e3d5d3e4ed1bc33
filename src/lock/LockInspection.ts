/**
 * Finds out which process holds a lock file, without creating, writing or removing anything.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Holder } from "../GatewayLockError.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import { KernelLock } from "../host/KernelLock.ts"
import { patientFiles } from "../host/momentary.ts"
import type { ProcessTable } from "../host/ProcessTable.ts"
import { describePlatformError, isNotFound } from "../internal/describeError.ts"
import { ownerOf } from "./LockHolder.ts"
import { configLockPath, type ConfigNames, isNamedBy, stateLockPath } from "./LockPaths.ts"
import type * as OwnerRecord from "./OwnerRecord.ts"
import { ageOf, type Enforcement, linkTarget, readRecord } from "./Snapshot.ts"

/**
 * The owner of a lock, as the record in the lock file names it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Owner {
  readonly record: OwnerRecord.OwnerRecord
  /** The owner in the form that errors carry. It also has the process's command, and whether the process is alive (`pidMeaning`). */
  readonly holder: Holder
  /**
   * The process that gets the signals meant for the owner: the process in the record. But if that process is a wrapper (`gateway
   * exec`) and has ended, the signals go to the command that the wrapper started.
   */
  readonly process: OwnerRecord.ProcessIdentity
}

/**
 * The state of a lock file.
 *
 * - `Absent`: there is no lock file.
 * - `Held`: a process holds the lock. With the enforcement `kernel`, it holds a kernel lock on the file. With `record`,
 *   no kernel lock is available, but the process that the record names is alive.
 * - `Left`: no process holds the lock. An owner that did not shut down cleanly left the file.
 * - `Unknown`: the state cannot be determined, for the given reason.
 *
 * @since 0.1.0
 * @category models
 */
export type LockState =
  | { readonly _tag: "Absent" }
  | { readonly _tag: "Held"; readonly owner: Option.Option<Owner>; readonly enforcement: Enforcement }
  | {
    readonly _tag: "Left"
    readonly owner: Option.Option<Owner>
    /** The time since the file was last written or touched. */
    readonly age: Duration.Duration
  }
  | { readonly _tag: "Unknown"; readonly owner: Option.Option<Owner>; readonly reason: string }

const unknown = (reason: string, owner: Option.Option<Owner> = Option.none()): LockState => ({
  _tag: "Unknown",
  owner,
  reason
})

/**
 * The state of a lock file without a kernel lock, from its record alone. It is `Held` if the recorded process is alive,
 * `Left` if that process has ended, and `Unknown` if neither can be determined.
 */
const byRecord = (owner: Option.Option<Owner>, age: Duration.Duration, reason: string): LockState => {
  switch (Option.getOrUndefined(owner)?.holder.pidMeaning) {
    case "Alive":
      return { _tag: "Held", owner, enforcement: "record" }
    case "Gone":
      return { _tag: "Left", owner, age }
    default:
      return unknown(reason, owner)
  }
}

/**
 * Finds the state of one lock file.
 *
 * @since 0.1.0
 * @category reading
 */
export const inspect = (
  path: string
): Effect.Effect<LockState, never, FileSystem.FileSystem | KernelLock | ProcessTable> =>
  Effect.gen(function*() {
    const fs = yield* patientFiles
    const lock = yield* KernelLock
    const before = yield* fs.stat(path)
    // open(2) of a FIFO would block until another process opens it for writing.
    if (before.type !== "File") return unknown(`it is not a regular file but a ${before.type.toLowerCase()}`)
    const file = yield* fs.open(path, { flag: "r" })
    const info = yield* file.stat
    const link = yield* linkTarget(fs, path)
    if (Option.isSome(link)) return unknown(`it is a symbolic link to ${link.value}`)
    const age = yield* ageOf(info)
    // Test the lock first, then read the record. If the lock is held, the record is then the holder's, or the holder is
    // still writing it. In the reverse order, the lock could pass to another owner in between, and the record would be
    // that of the earlier owner.
    const locked = yield* Effect.either(lock.isLocked(file.fd))
    const record = yield* readRecord(file, info)
    const owner = Option.isSome(record)
      ? Option.some({ record: record.value, ...(yield* ownerOf(record.value)) })
      : Option.none<Owner>()
    if (locked._tag === "Left") {
      return byRecord(
        owner,
        age,
        `kernel locks are not available (${locked.left.reason}), and its record names no process that is visible from here`
      )
    }
    if (locked.right) return { _tag: "Held", owner, enforcement: "kernel" } satisfies LockState
    return Option.exists(record, ({ lock }) => lock === "record")
      ? byRecord(
        owner,
        age,
        "only its record enforces the lock, and the record names no process that is visible from here"
      )
      : { _tag: "Left", owner, age } satisfies LockState
  }).pipe(
    Effect.scoped,
    Effect.catchAll((error): Effect.Effect<LockState> =>
      Effect.succeed(isNotFound(error) ? { _tag: "Absent" } : unknown(describePlatformError(error)))
    )
  )

/** Whether a process holds the lock, or may hold it. */
const isPresent = (state: LockState): state is Extract<LockState, { readonly _tag: "Held" | "Unknown" }> =>
  state._tag === "Held" || state._tag === "Unknown"

/**
 * The path of the lock file to inspect for a gateway. A gateway holds two lock files, one for its config and one for its
 * state directory. In most cases the result is the config's lock file.
 *
 * The exception: a symbolic link in the config's path was changed after the owner started. A config's lock file is named
 * after the canonical path, so the owner holds the one of the old canonical path, and the one of the new path is free. The
 * state directory's lock file still names the owner. If its record has the config's path as written in `options`, the
 * result is the lock file of the canonical path in the record. If the owner does not hold that lock file, the result is
 * the state directory's lock file.
 *
 * @since 0.1.0
 * @category paths
 */
export const lockPathOf = (
  options: ConfigNames
): Effect.Effect<string, never, FileSystem.FileSystem | KernelLock | ProcessTable> =>
  Effect.gen(function*() {
    const path = configLockPath(options)
    if (isPresent(yield* inspect(path))) return path
    const shared = stateLockPath(options)
    const state = yield* inspect(shared)
    const platform = yield* HostPlatform
    const record = isPresent(state) ? Option.map(state.owner, ({ record }) => record) : Option.none()
    if (!Option.exists(record, (record) => isNamedBy(record, options, platform))) return path
    const { configPath, instanceId } = Option.getOrThrow(record)
    const former = configLockPath({ ...options, configPath })
    const owner = yield* inspect(former)
    return isPresent(owner) && Option.exists(owner.owner, ({ record }) => record.instanceId === instanceId)
      ? former
      : shared
  })
