/**
 * Replaces the file of a definition.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as NodePath from "node:path"

/** Whoever looks sees the old file or the new one, whole, also after a loss of power. */
export const writeAtomically = (
  path: string,
  content: Uint8Array
): Effect.Effect<void, PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const suffix = yield* Random.nextIntBetween(0, 2 ** 32)
    // In the same folder, or it could not be renamed; no manager takes a name that ends so for a definition.
    const temporary = NodePath.join(
      NodePath.dirname(path),
      `.${NodePath.basename(path)}.${suffix.toString(16).padStart(8, "0")}.tmp`
    )
    const write = Effect.gen(function*() {
      const file = yield* fs.open(temporary, { flag: "wx", mode: 0o644 })
      yield* file.writeAll(content)
      // Whatever the umask: the manager, and who reads it through the manager, may be somebody else.
      yield* fs.chmod(temporary, 0o644)
      yield* file.sync
    })
    yield* Effect.scoped(write).pipe(
      Effect.zipRight(fs.rename(temporary, path)),
      // That it cannot be removed either is said by the failure that came first.
      Effect.onError(() => Effect.ignore(fs.remove(temporary)))
    )
  })
