/**
 * What an attempt to take a lock file is given, what it comes to, and the steps that attempts have in common, with a kernel
 * lock or by the record only.
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

/** What was found in a lock file that nobody held any more. */
export type Leftover = Pick<Snapshot, "record" | "age" | "isAhead">

/** A lock file that is ours until the scope closes. */
export interface HeldFile {
  readonly path: string
  /** Which file this is: device and inode. */
  readonly id: string
  readonly enforcement: Enforcement
  /** Why there is no kernel lock. */
  readonly fallback: Option.Option<KernelLockUnsupported>
  readonly leftover: Option.Option<Leftover>
  /**
   * Rewrites the record in place; where only the record keeps others out, not one that names another. One at a time with
   * `read` and `check`: they share a position in the file.
   */
  readonly write: (record: OwnerRecord.OwnerRecord) => Effect.Effect<void, PlatformError>
  /** The record, if there is a readable one. */
  readonly read: Effect.Effect<Option.Option<OwnerRecord.OwnerRecord>, PlatformError>
  /** `None` while the path is still this file and, where only the record keeps others out, names us; else what became of it. */
  readonly check: Effect.Effect<Option.Option<string>, PlatformError>
}

/** What an attempt comes to: the lock is acquired, or another owner has it. */
export type Attempt =
  | { readonly _tag: "Mine"; readonly file: HeldFile }
  | { readonly _tag: "Held"; readonly snapshot: Snapshot }

/** What an attempt is given. */
export interface AttemptOptions {
  readonly path: string
  readonly record: (enforcement: Enforcement) => OwnerRecord.OwnerRecord
  /** A snapshot that was judged stale: exactly that file, with that record, may be taken. */
  readonly reclaim: Option.Option<Snapshot>
  /** Whether another starter that began to reclaim, and left its claim, is dead as far as can be told. Default: never. */
  readonly isAbandoned?: ((claim: Snapshot) => Effect.Effect<boolean>) | undefined
  /** The file that this instance has already, under whatever name: never taken a second time. */
  readonly present?: string | undefined
  /** This instance has just locked another file of this folder: nothing needs to be asked of a draft. Default `false`. */
  readonly isLockable?: boolean | undefined
}

/** Another owner has the lock, or a quicker start. */
export const held = (snapshot: Snapshot): Attempt => ({ _tag: "Held", snapshot })

/** The lock is acquired. */
export const mine = (file: HeldFile): Attempt => ({ _tag: "Mine", file })

/** Ids are new for every acquisition: who finds its own has held this lock all along. */
export const isOurs = (options: AttemptOptions, record: Option.Option<OwnerRecord.OwnerRecord>): boolean =>
  Option.exists(record, ({ instanceId }) => instanceId === options.record("record").instanceId)

/** The file that an attempt has acquired. */
export const heldFile = (
  { idAt }: NamedFiles,
  options: AttemptOptions,
  file: FileSystem.File,
  facts: Pick<HeldFile, "id" | "enforcement" | "fallback" | "leftover">
): HeldFile => ({
  path: options.path,
  ...facts,
  // Without a kernel lock the record is the lock: a file that names another is another's, and is left to it. The next
  // `check` finds that out.
  write: (record) =>
    facts.enforcement === "kernel"
      ? writeRecord(file, record)
      : Effect.flatMap(readOpen(file), (found) => isOurs(options, found) ? writeRecord(file, record) : Effect.void),
  read: readOpen(file),
  check: Effect.gen(function*() {
    const now = yield* idAt(options.path)
    if (Option.isNone(now)) return Option.some("the file was removed")
    if (now.value !== facts.id) return Option.some("the file was replaced")
    // One with a kernel lock that judged our record stale has written its own into our file.
    if (facts.enforcement === "record" && !isOurs(options, yield* readOpen(file))) {
      return Option.some("the file was overwritten")
    }
    return Option.none()
  })
})

/** How an attempt claims what a dead owner left. */
export const claiming = (
  files: NamedFiles,
  options: AttemptOptions,
  enforcement: Enforcement
): Claim.ClaimOptions => ({
  look: files.look,
  create: (path) =>
    // Not synced: a power cut ends every process that it could matter to.
    create(files, path, options.record(enforcement), () => Effect.void).pipe(
      Effect.as(true),
      Effect.catchTag("Moved", () => Effect.succeed(false))
    ),
  isAbandoned: options.isAbandoned ?? (() => Effect.succeed(false))
})
