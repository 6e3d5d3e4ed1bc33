/**
 * Reads where a symbolic link points.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Fs from "node:fs"

/** The target of a symbolic link. `None` if the path does not name a link, or if it cannot be read. */
type LinkTargetOf = (fs: FileSystem.FileSystem, path: string) => Effect.Effect<Option.Option<string>>

/**
 * By default `FileSystem` reads the link. It fails for a file that is no link, which a lock file never is. The program asks Node
 * instead, because a refused start would load Effect's schemas only to make that error.
 */
export class LinkTarget extends Context.Reference<LinkTarget>()("gateway-lock/LinkTarget", {
  defaultValue: (): LinkTargetOf => (fs, path) => Effect.option(fs.readLink(path))
}) {}

/** Asks Node. */
export const live: LinkTargetOf = (_, path) =>
  Effect.async((resume) =>
    Fs.readlink(path, (error, target) => resume(error === null ? Effect.succeedSome(target) : Effect.succeedNone))
  )
