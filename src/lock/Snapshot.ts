/**
 * Reads the content of a lock file at one moment, and compares it with an earlier reading.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { LinkTarget } from "../host/LinkTarget.ts"
import * as OwnerRecord from "./OwnerRecord.ts"

/** What keeps other processes out of a lock: the kernel lock, or only the record. */
export type Enforcement = "kernel" | "record"

/** A lock file, as seen at one moment. */
export interface Snapshot {
  readonly record: Option.Option<OwnerRecord.OwnerRecord>
  /**
   * `kernel`: the kernel lock shows whether the owner is alive. `record`: only the record shows an owner, and
   * `Staleness` decides whether the lock may be taken.
   */
  readonly enforcement: Enforcement
  /** The identity of the file: device and inode. */
  readonly fileId: string
  /** The time since the file was last written or touched. */
  readonly age: Duration.Duration
  /** Whether the modification time of the file is later than the current time of this host's clock. */
  readonly isAhead?: boolean
}

/**
 * The target of a symbolic link. `None` if the path is not a link. Call it before you open a file by its path, so that a
 * link is not opened at all. Files are opened without `O_NOFOLLOW`, so a link that was put there after the first call would
 * be followed. So call it again after the open.
 */
export const linkTarget = (
  fs: FileSystem.FileSystem,
  path: string
): Effect.Effect<Option.Option<string>> => Effect.flatMap(LinkTarget, (targetOf) => targetOf(fs, path))

/**
 * How long ago a file was last written, by the wall clock. If the clock was set back after the write, the file's time is
 * in the future. In that case the age is the time from now to the file's time. A negative age would make the file look
 * new until its time has passed, and a start that waits until the file is old could wait for days.
 */
export const ageOf = (info: FileSystem.File.Info): Effect.Effect<Duration.Duration> =>
  Effect.map(
    Clock.currentTimeMillis,
    (now) =>
      Duration.millis(
        Math.abs(now - Option.match(info.mtime, { onNone: () => now, onSome: (time) => time.getTime() }))
      )
  )

/**
 * The age of a file as `ageOf` gives it, and whether the file's modification time is in the future.
 */
export const touched = (info: FileSystem.File.Info): Effect.Effect<Pick<Snapshot, "age" | "isAhead">> =>
  Effect.all([ageOf(info), Clock.currentTimeMillis]).pipe(
    Effect.map(([age, now]) =>
      Option.exists(info.mtime, (time) => time.getTime() > now) ? { age, isAhead: true } : { age }
    )
  )

export const readRecord = (
  file: FileSystem.File,
  info: FileSystem.File.Info
): Effect.Effect<Option.Option<OwnerRecord.OwnerRecord>, PlatformError> =>
  info.size === FileSystem.Size(0) || info.size > FileSystem.Size(OwnerRecord.maxBytes)
    ? Effect.succeed(Option.none())
    : file.seek(FileSystem.Size(0), "start").pipe(
      Effect.zipRight(file.readAlloc(info.size)),
      Effect.map(Option.flatMap(OwnerRecord.parse))
    )

export const readOpen = (file: FileSystem.File): Effect.Effect<Option.Option<OwnerRecord.OwnerRecord>, PlatformError> =>
  Effect.flatMap(file.stat, (info) => readRecord(file, info))

const writeBytes = (file: FileSystem.File, bytes: Uint8Array): Effect.Effect<void, PlatformError> =>
  Effect.zipRight(file.seek(FileSystem.Size(0), "start"), file.writeAll(bytes))

/**
 * Writes the record first and truncates the file afterwards. A reader in between sees the new record, possibly with the
 * end of the old one behind it, and never an empty file.
 */
export const writeRecord = (
  file: FileSystem.File,
  record: OwnerRecord.OwnerRecord
): Effect.Effect<void, PlatformError> => {
  const bytes = OwnerRecord.encode(record)
  return Effect.zipRight(writeBytes(file, bytes), file.truncate(FileSystem.Size(bytes.length)))
}

/** Writes the record into a file that is empty, because this process has just created it. */
export const writeFirstRecord = (
  file: FileSystem.File,
  record: OwnerRecord.OwnerRecord
): Effect.Effect<void, PlatformError> => writeBytes(file, OwnerRecord.encode(record))

const isSameOwner = (a: Option.Option<OwnerRecord.OwnerRecord>, b: Option.Option<OwnerRecord.OwnerRecord>): boolean =>
  Option.match(a, {
    onNone: () => Option.isNone(b),
    onSome: (a) => Option.exists(b, (b) => a.instanceId === b.instanceId)
  })

/** Whether two snapshots are of the same file with the same owner. */
export const isSame = (a: Snapshot, b: Snapshot): boolean => a.fileId === b.fileId && isSameOwner(a.record, b.record)
