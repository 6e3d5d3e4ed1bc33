/**
 * What does a lock file say at this moment, and is it still the same one?
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as OwnerRecord from "./OwnerRecord.ts"

/** What keeps others out of a lock. */
export type Enforcement = "kernel" | "record"

/** A lock that somebody else has, as seen at one moment. */
export interface Snapshot {
  readonly record: Option.Option<OwnerRecord.OwnerRecord>
  /** `kernel`: its owner lives, there is nothing to judge. `record`: `Staleness` decides. */
  readonly enforcement: Enforcement
  /** Which file this was: device and inode. */
  readonly fileId: string
  /** Since it was last written or touched. */
  readonly age: Duration.Duration
  /** Whether that is a time that this clock has still before it. */
  readonly isAhead?: boolean
}

/**
 * Where a path leads, if it is a symbolic link. Asked after a file was opened by its path as well as before: without
 * `O_NOFOLLOW`, that is what tells that the file that was opened is the one of that name.
 */
export const linkTarget = (
  fs: FileSystem.FileSystem,
  path: string
): Effect.Effect<Option.Option<string>> => Effect.option(fs.readLink(path))

/**
 * How long ago a file was last written, by the wall clock. One from the future is as old as it is far away: the clock has
 * been set back since, and waiting until it gets there could take days.
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
 * `ageOf`, and whether it is counted from the future.
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

/**
 * Writes first and cuts afterwards: a reader in between sees the new record, perhaps with an old tail,
 * and never an empty file.
 */
export const writeRecord = (
  file: FileSystem.File,
  record: OwnerRecord.OwnerRecord
): Effect.Effect<void, PlatformError> => {
  const bytes = OwnerRecord.encode(record)
  return file.seek(FileSystem.Size(0), "start").pipe(
    Effect.zipRight(file.writeAll(bytes)),
    Effect.zipRight(file.truncate(FileSystem.Size(bytes.length)))
  )
}

const isSameOwner = (a: Option.Option<OwnerRecord.OwnerRecord>, b: Option.Option<OwnerRecord.OwnerRecord>): boolean =>
  Option.match(a, {
    onNone: () => Option.isNone(b),
    onSome: (a) => Option.exists(b, (b) => a.instanceId === b.instanceId)
  })

/** The same file with the same owner. */
export const isSame = (a: Snapshot, b: Snapshot): boolean => a.fileId === b.fileId && isSameOwner(a.record, b.record)
