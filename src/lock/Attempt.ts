/**
 * The options and results of an attempt to acquire a lock file. This module also has the steps that are the same with a
 * kernel lock and in record-only mode, in which no kernel lock is available.
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { KernelLockUnsupported } from "../host/KernelLock.ts"
import type * as Claim from "./Claim.ts"
import { create } from "./DraftFile.ts"
import type { NamedFiles } from "./NamedFiles.ts"
import type * as OwnerRecord from "./OwnerRecord.ts"
import { type Enforcement, readOpen, type Snapshot, writeRecord } from "./Snapshot.ts"

/** What a dead owner left: the record in its lock file, and the age of that file. */
export type Leftover = Pick<Snapshot, "record" | "age" | "isAhead">

/** A lock file that is held until the scope closes. */
export interface HeldFile {
  readonly path: string
  /** The identity of this file: device and inode. */
  readonly id: string
  /** The descriptor of the open file. A kernel lock belongs to the open file, so a child that inherits the descriptor keeps the lock. */
  readonly descriptor: FileSystem.File.Descriptor
  readonly enforcement: Enforcement
  /** Why there is no kernel lock. `None` if there is a kernel lock. */
  readonly fallback: Option.Option<KernelLockUnsupported>
  readonly leftover: Option.Option<Leftover>
  /**
   * Rewrites the record in place. In record-only mode (no kernel lock), a file whose record names another instance is
   * left unchanged. Must not run at the same time as `read` or `check`, because all three share one file position.
   */
  readonly write: (record: OwnerRecord.OwnerRecord) => Effect.Effect<void, PlatformError>
  /** The record in the file; `None` if the content of the file is not a valid record. Fails if the file cannot be read. */
  readonly read: Effect.Effect<Option.Option<OwnerRecord.OwnerRecord>, PlatformError>
  /**
   * `None` while the path leads to this file and, in record-only mode, the file's record names this instance. Otherwise
   * describes what happened to the file.
   */
  readonly check: Effect.Effect<Option.Option<string>, PlatformError>
}

/** The result of an attempt. `Mine`: the attempt acquired the lock. `Held`: the lock file still belongs to another process. */
export type Attempt =
  | { readonly _tag: "Mine"; readonly file: HeldFile }
  | { readonly _tag: "Held"; readonly snapshot: Snapshot }

/** The options of an attempt. */
export interface AttemptOptions {
  readonly path: string
  readonly record: (enforcement: Enforcement) => OwnerRecord.OwnerRecord
  /**
   * The snapshot of a lock file whose owner was judged dead. The attempt may take over the lock file only if the file
   * and its record are still the same as in this snapshot. With `None`, no owner was judged dead.
   */
  readonly reclaim: Option.Option<Snapshot>
  /**
   * Whether the author of a claim is dead, as far as is known. A claim is a file beside the lock file. The start that
   * creates it, its author, may take the lock file of a dead owner away. Default: no author counts as dead.
   */
  readonly isAbandoned?: ((claim: Snapshot) => Effect.Effect<boolean>) | undefined
  /**
   * The identity of a file that this instance holds already. If `path` leads to that same file, the attempt does not
   * acquire the file a second time.
   */
  readonly present?: string | undefined
  /**
   * Whether this instance has just locked another file in this folder. If so, the file system is known to enforce
   * locks, and the attempt does not test that with a temporary file. Default `false`.
   */
  readonly isLockable?: boolean | undefined
}

/** The result if this attempt did not acquire the lock. `snapshot` shows the lock file as the attempt found it. */
export const held = (snapshot: Snapshot): Attempt => ({ _tag: "Held", snapshot })

/** The result if this attempt acquired the lock. */
export const mine = (file: HeldFile): Attempt => ({ _tag: "Mine", file })

/**
 * Whether a record names this instance. Every acquisition has a new instance id. So a record with this id is the one
 * that this process wrote, or a copy of it.
 */
export const isOurs = (options: AttemptOptions, record: Option.Option<OwnerRecord.OwnerRecord>): boolean =>
  Option.exists(record, ({ instanceId }) => instanceId === options.record("record").instanceId)

/** Makes the `HeldFile` of a successful attempt. */
export const heldFile = (
  { idAt }: NamedFiles,
  options: AttemptOptions,
  file: FileSystem.File,
  facts: Pick<HeldFile, "id" | "enforcement" | "fallback" | "leftover">
): HeldFile => ({
  path: options.path,
  descriptor: file.fd,
  ...facts,
  // If there is no kernel lock, the record decides which instance holds the lock. A file whose record names another
  // instance belongs to that instance, so `write` leaves the file unchanged. The next `check` reports the loss.
  write: (record) =>
    facts.enforcement === "kernel"
      ? writeRecord(file, record)
      : Effect.flatMap(readOpen(file), (found) => isOurs(options, found) ? writeRecord(file, record) : Effect.void),
  read: readOpen(file),
  check: Effect.gen(function*() {
    const now = yield* idAt(options.path)
    if (Option.isNone(now)) return Option.some("the file was removed")
    if (now.value !== facts.id) return Option.some("the file was replaced")
    // The same file can have another owner by now: a start with a kernel lock takes a stale file over by writing its own
    // record into it.
    if (facts.enforcement === "record" && !isOurs(options, yield* readOpen(file))) {
      return Option.some("the file was overwritten")
    }
    return Option.none()
  })
})

/**
 * The options with which an attempt claims a file that a dead owner left. The claim is a second file, which only one
 * start can create. Only that start may move the dead owner's file or take it over.
 */
export const claimOptions = (
  files: NamedFiles,
  options: AttemptOptions,
  enforcement: Enforcement
): Claim.ClaimOptions => ({
  look: files.look,
  create: (path) =>
    // The claim is not synced to disk. A power cut can lose the claim, but also ends every process to which the claim
    // matters.
    create(files, path, options.record(enforcement), () => Effect.void).pipe(
      Effect.as(true),
      Effect.catchTag("Moved", () => Effect.succeed(false))
    ),
  isAbandoned: options.isAbandoned ?? (() => Effect.succeed(false))
})
