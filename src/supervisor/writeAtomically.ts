/**
 * Replaces the file of a service definition atomically.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as NodePath from "node:path"

/** Replaces a file. A reader sees either the whole old file or the whole new file, even after a power failure. */
export const writeAtomically = (
  path: string,
  content: Uint8Array
): Effect.Effect<void, PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const suffix = yield* Random.nextIntBetween(0, 2 ** 32)
    // The temporary file is in the same folder, because rename(2) does not work across file systems. No manager reads a file with
    // this suffix as a definition.
    const temporary = NodePath.join(
      NodePath.dirname(path),
      `.${NodePath.basename(path)}.${suffix.toString(16).padStart(8, "0")}.tmp`
    )
    const write = Effect.gen(function*() {
      const file = yield* fs.open(temporary, { flag: "wx", mode: 0o644 })
      yield* file.writeAll(content)
      // chmod sets the mode again, because the umask may have removed read permissions from it. Other users must be able to read
      // the file, because the manager and its command-line programs may run as another user.
      yield* fs.chmod(temporary, 0o644)
      yield* file.sync
    })
    yield* Effect.scoped(write).pipe(
      Effect.zipRight(fs.rename(temporary, path)),
      // The error of the write is reported, because it names the cause. So an error of this removal is ignored.
      Effect.onError(() => Effect.ignore(fs.remove(temporary)))
    )
  })
