/**
 * Creates a file exclusively, with its record in it from the moment that it has its name, by way of a draft beside it.
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

/** Fails with `Moved` where the path is taken. */
export const createExclusively = (fs: FileSystem.FileSystem, path: string, flag: "wx" | "wx+") =>
  open(fs, path, { flag, mode: 0o600 }).pipe(Effect.catchIf(isAlreadyExists, () => Effect.fail(new Moved())))

/** Also one of an earlier attempt, if it is there. */
export const removeDraft = (fs: FileSystem.FileSystem, draft: string): Effect.Effect<void> =>
  Effect.ignore(Effect.retry(fs.remove(draft), { times: 1, while: (error) => !isNotFound(error) }))

/**
 * Creates a file with its record in it, in one step: a lock file that is empty for a moment would be taken by a starter with
 * a kernel lock, which must take an empty file for that of a slower one of its own kind; and of an empty claim, which a
 * killed starter left, no reader could tell whose it was.
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
          // Made exclusively a moment ago, and in everybody's way until it is stale.
          Effect.tapError(() => Effect.ignore(fs.remove(path)))
        ))
    )
  const link = fs.link(draft, path).pipe(
    // A draft can be swept away while it is empty.
    Effect.catchIf((error) => isAlreadyExists(error) || isNotFound(error), () => Effect.fail(new Moved()))
  )
  return Effect.zipLeft(write(draft), link).pipe(
    Effect.ensuring(removeDraft(fs, draft)),
    // Without hard links, as well as can be.
    Effect.catchAll((error) => error._tag !== "Moved" && hasNoLinks(error) ? write(path) : Effect.fail(error))
  )
}
