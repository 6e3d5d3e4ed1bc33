/**
 * Creates a file exclusively. The file has its record from the moment that it has its name, because the record is first
 * written to a draft, which is another file in the same folder. The draft is then linked to the name.
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import { hasNoLinks, isAlreadyExists, isNotFound } from "../internal/describeError.ts"
import * as Claim from "./Claim.ts"
import { Moved, type NamedFiles, open } from "./NamedFiles.ts"
import type * as OwnerRecord from "./OwnerRecord.ts"
import { writeRecord } from "./Snapshot.ts"

type Sync = FileSystem.File["sync"]

/** Creates and opens a file. Fails with `Moved` if the path exists. */
export const createExclusively = (fs: FileSystem.FileSystem, path: string, flag: "wx" | "wx+") =>
  open(fs, path, { flag, mode: 0o600 }).pipe(Effect.catchIf(isAlreadyExists, () => Effect.fail(new Moved())))

/**
 * Removes a draft of this attempt or of an earlier one. If the removal fails, it is tried once more and then given up.
 */
export const removeDraft = (fs: FileSystem.FileSystem, draft: string): Effect.Effect<void> =>
  Effect.ignore(Effect.retry(fs.remove(draft), { times: 1, while: (error) => !isNotFound(error) }))

/**
 * Creates a file and its record in one step, and returns the file's identity. No other process may see the file empty,
 * for two reasons:
 *
 * - If a start with a kernel lock finds an empty lock file, it takes over the file. It must assume that a slower start
 *   with a kernel lock has just created the file.
 * - If a start was killed and left an empty claim, readers cannot tell which process left the claim. (A claim is a file
 *   that reserves the right to move a dead owner's lock file.)
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
        writeRecord(file, record).pipe(
          Effect.zipRight(finish(file)),
          Effect.zipRight(idOf(file)),
          // A step failed, so remove the file. Otherwise no start could acquire the lock until the file counts as
          // stale.
          Effect.tapError(() => Effect.ignore(fs.remove(path)))
        ))
    )
  const link = fs.link(draft, path).pipe(
    // `isNotFound` is true if another start removed the draft. `Claim.sweep` of that start removes drafts that are
    // empty.
    Effect.catchIf((error) => isAlreadyExists(error) || isNotFound(error), () => Effect.fail(new Moved()))
  )
  return Effect.zipLeft(write(draft), link).pipe(
    Effect.ensuring(removeDraft(fs, draft)),
    // If the file system has no hard links, create the file directly. The file is then empty for a moment.
    Effect.catchAll((error) => error._tag !== "Moved" && hasNoLinks(error) ? write(path) : Effect.fail(error))
  )
}
