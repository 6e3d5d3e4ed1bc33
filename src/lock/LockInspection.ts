/**
 * Who holds a lock file now? For who only wants to know: nothing is created, written or removed.
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
import { holderOf } from "./LockHolder.ts"
import { configLockPath, type ConfigNames, isNamedBy, stateLockPath } from "./LockPaths.ts"
import type * as OwnerRecord from "./OwnerRecord.ts"
import { ageOf, type Enforcement, linkTarget, readRecord } from "./Snapshot.ts"

/**
 * What a lock file says, where there is a readable record.
 *
 * @since 0.1.0
 * @category models
 */
export interface Owner {
  readonly record: OwnerRecord.OwnerRecord
  /** The same as the errors carry it, with what its pid means here and its command. */
  readonly holder: Holder
}

/**
 * - `Absent`: there is no lock file.
 * - `Held`: somebody has the lock: by the kernel's word, or (`record`) because the recorded process lives.
 * - `Left`: nobody has it; an owner that did not end in order left the file.
 * - `Unknown`: it cannot be told, for that reason.
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
    /** Since the file was last written or touched. */
    readonly age: Duration.Duration
  }
  | { readonly _tag: "Unknown"; readonly owner: Option.Option<Owner>; readonly reason: string }

const unknown = (reason: string, owner: Option.Option<Owner> = Option.none()): LockState => ({
  _tag: "Unknown",
  owner,
  reason
})

/** Where only the record keeps others out: the recorded process decides, if it can be told about. */
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
 * Looks at one lock file.
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
    // Opening a FIFO would wait for its writer.
    if (before.type !== "File") return unknown(`it is no file but a ${before.type}`)
    const file = yield* fs.open(path, { flag: "r" })
    const info = yield* file.stat
    const link = yield* linkTarget(fs, path)
    if (Option.isSome(link)) return unknown(`it is a symbolic link to ${link.value}`)
    const age = yield* ageOf(info)
    // First the lock, then the record: one that is read while the lock is held is its holder's, or being written.
    const locked = yield* Effect.either(lock.isLocked(file.fd))
    const record = yield* readRecord(file, info)
    const owner = Option.isSome(record)
      ? Option.some({ record: record.value, holder: yield* holderOf(record.value) })
      : Option.none<Owner>()
    if (locked._tag === "Left") {
      return byRecord(
        owner,
        age,
        `no kernel lock can be asked (${locked.left.reason}), and its record names no process of ours`
      )
    }
    if (locked.right) return { _tag: "Held", owner, enforcement: "kernel" } satisfies LockState
    return Option.exists(record, ({ lock }) => lock === "record")
      ? byRecord(owner, age, "it is kept by its record alone, which names no process of ours")
      : { _tag: "Left", owner, age } satisfies LockState
  }).pipe(
    Effect.scoped,
    Effect.catchAll((error): Effect.Effect<LockState> =>
      Effect.succeed(isNotFound(error) ? { _tag: "Absent" } : unknown(describePlatformError(error)))
    )
  )

/** Whether somebody has it, or may have it. */
const isPresent = (state: LockState): state is Extract<LockState, { readonly _tag: "Held" | "Unknown" }> =>
  state._tag === "Held" || state._tag === "Unknown"

/**
 * The lock file to look at for the gateway that these paths name: that of its config. Where nobody has that one, and the owner
 * of the state directory's lock names the same config, it is that owner's: the lock of the config as the owner found it, before
 * a link in the path was changed, or else the state directory's.
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
