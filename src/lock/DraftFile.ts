/**
 * Creates a file that has its record from the first moment. The record is first written to a draft, which is a file in
 * the same folder with a temporary name. A hard link then gives the draft its final name, and fails if the name is taken.
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import { hasNoLinks, isAlreadyExists, isNotFound } from "../internal/describeError.ts"
import * as Claim from "./Claim.ts"
import { Moved, type NamedFiles, open } from "./NamedFiles.ts"
import type * as OwnerRecord from "./OwnerRecord.ts"
import { writeFirstRecord } from "./Snapshot.ts"

type Sync = FileSystem.File["sync"]

/** Creates and opens a file. Fails with `Moved` if the path exists. */
export const createExclusively = (fs: FileSystem.FileSystem, path: string, flag: "wx" | "wx+") =>
  open(fs, path, { flag, mode: 0o600 }).pipe(Effect.catchIf(isAlreadyExists, () => Effect.fail(new Moved())))

/**
 * Removes a draft that this attempt or an earlier one has left. A draft is a lock file under its temporary name. If the removal
 * fails, it is tried once more and then given up.
 */
export const removeDraft = (fs: FileSystem.FileSystem, draft: string): Effect.Effect<void> =>
  Effect.ignore(Effect.retry(fs.remove(draft), { times: 1, while: (error) => !isNotFound(error) }))

/**
 * Creates a file and its record in one step, and returns the file's identity. The file is a lock file or a claim. A claim
 * is a file beside a dead owner's lock file. Only the creator of the claim may move that lock file. No other process
 * should see the created file empty, for two reasons:
 *
 * - Starts with kernel locks create their lock files empty, and lock them afterwards. So a start with kernel locks takes
 *   over an empty lock file, as if a slower start had created the file and not locked it yet.
 * - If a start was killed and left an empty claim, readers cannot tell which process left the claim.
 */
export const create = (
  { fs, idOf }: NamedFiles,
  path: string,
  record: OwnerRecord.OwnerRecord,
  finish: (file: FileSystem.File) => Sync
): Effect.Effect<string, PlatformError | Moved> => {
  const draft = Claim.draftPath(path, record)
  const write = (path: string) =>
    Effect.scoped(
      Effect.flatMap(createExclusively(fs, path, "wx"), (file) =>
        writeFirstRecord(file, record).pipe(
          Effect.zipRight(finish(file)),
          Effect.zipRight(idOf(file)),
          // If a step failed, remove the file. An incomplete lock file would keep every start out until it is old
          // enough to count as stale.
          Effect.tapError(() => Effect.ignore(fs.remove(path)))
        ))
    )
  const link = fs.link(draft, path).pipe(
    // `isNotFound` is true if another start removed the draft, because the draft was still empty when that start looked
    // for leftovers (`Claim.sweep`).
    Effect.catchIf((error) => isAlreadyExists(error) || isNotFound(error), () => Effect.fail(new Moved()))
  )
  return Effect.zipLeft(write(draft), link).pipe(
    Effect.ensuring(removeDraft(fs, draft)),
    // If the file system has no hard links, create the file directly. The file is then empty for a moment.
    Effect.catchAll((error) => error._tag !== "Moved" && hasNoLinks(error) ? write(path) : Effect.fail(error))
  )
}
