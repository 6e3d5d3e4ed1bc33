import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import { ancestors } from "../internal/ancestors.ts"
import { isAlreadyExists, isNotFound } from "../internal/describeError.ts"
import { patientFiles } from "./momentary.ts"

/** The text that says why a folder cannot be made if the root of its path does not exist. */
export const rootMissing = (root: string): string => `${root} does not exist (no such drive or share)`

/** The error if the root of a path does not exist, such as a drive on Windows. */
export class RootMissing {
  readonly _tag = "RootMissing"
  readonly root: string
  constructor(root: string) {
    this.root = root
  }
}

/**
 * Makes a folder and its missing parents one by one, each with the permission bits of `mode`. Node's recursive `mkdir` would hide
 * the cause of a failure, because it fails with `ENOENT` even if the file system is read-only or broken (nodejs/node#47098). Where a
 * folder cannot be made in an existing parent for that reason, as in `/proc`, it never ends (`MKDirpAsync` in src/node_file.cc of
 * Node 20).
 *
 * Fails with `RootMissing` if the root of the path does not exist, because a root cannot be made.
 */
export const makeFolders = (
  path: string,
  mode: number
): Effect.Effect<void, PlatformError | RootMissing, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* patientFiles
    const makeOne = (path: string) =>
      Effect.catchIf(
        fs.makeDirectory(path, { mode }),
        isAlreadyExists,
        (error) => Effect.flatMap(fs.stat(path), ({ type }) => type === "Directory" ? Effect.void : Effect.fail(error))
      )
    const missing: Array<string> = []
    for (const folder of [path, ...ancestors(path)]) {
      if (yield* Effect.as(makeOne(folder), true).pipe(Effect.catchIf(isNotFound, () => Effect.succeed(false)))) {
        yield* Effect.forEach(missing.toReversed(), makeOne, { discard: true })
        return
      }
      missing.push(folder)
    }
    return yield* Effect.fail(new RootMissing(missing.at(-1) ?? path))
  })
