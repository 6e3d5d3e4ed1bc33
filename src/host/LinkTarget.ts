/**
 * Reads where a symbolic link points.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Fs from "node:fs"
import { isBlocking } from "./BlockingFiles.ts"

/** The target of a symbolic link. `None` if the path does not name a link, or if it cannot be read. */
type LinkTargetOf = (fs: FileSystem.FileSystem, path: string) => Effect.Effect<Option.Option<string>>

/** Asks the `FileSystem`, which fails for a file that is no link. */
export const byFiles: LinkTargetOf = (fs, path) => Effect.option(fs.readLink(path))

/**
 * The default is `byFiles`. A lock file is never a link, so that always fails, and the program asks Node instead: a refused start
 * would load Effect's schemas only to make that error.
 */
export class LinkTarget extends Context.Reference<LinkTarget>()("gateway-lock/LinkTarget", {
  defaultValue: () => byFiles
}) {}

const targetNow = (path: string): Option.Option<string> => {
  try {
    return Option.some(Fs.readlinkSync(path))
  } catch {
    return Option.none()
  }
}

/** Asks Node. */
export const live: LinkTargetOf = (_, path) =>
  Effect.flatMap(isBlocking, (isBlocking) =>
    isBlocking
      ? Effect.sync(() => targetNow(path))
      : Effect.async((resume) =>
        Fs.readlink(path, (error, target) => resume(error === null ? Effect.succeedSome(target) : Effect.succeedNone))
      ))
