/**
 * Undoes an installation that failed or was interrupted: restores the state from before the installation.
 */
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { ancestors } from "../internal/ancestors.ts"
import { describePlatformError, isNotFound } from "../internal/describeError.ts"
import { execute } from "./ManagerCommand.ts"
import { serviceNames } from "./ServiceOptions.ts"
import { definitionPath, enablement, launchdDomain, type Place, type Step, systemctl } from "./ServiceSteps.ts"
import { writeAtomically } from "./writeAtomically.ts"

/** The service to restore, and the function that reports each step. */
export interface UndoOptions extends Place {
  readonly report: (line: string) => Effect.Effect<void>
}

/**
 * The entry that was at a path before the installation wrote the service definition there. A service definition is a systemd unit,
 * a launchd plist or a task of the Task Scheduler.
 */
type Former =
  | { readonly _tag: "Nothing" }
  | { readonly _tag: "Link"; readonly target: string }
  | { readonly _tag: "Content"; readonly bytes: Uint8Array }
  /**
   * An entry that cannot be read. The installation could not write over such an entry either, so the undo leaves the entry
   * unchanged.
   */
  | { readonly _tag: "Unreadable" }

/** The state before an installation. */
export interface Before {
  readonly path: string
  readonly definition: Former
  /** Whether the link that `systemctl enable` creates existed. */
  readonly isEnabled: boolean
  /** The folders that the installation needs and that did not exist before it, the deepest first. */
  readonly missing: ReadonlyArray<string>
}

const former = (path: string): Effect.Effect<Former, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    // The check for a link comes first, because `readFile` follows links. A masked unit is a link to /dev/null, which reads as an
    // empty file.
    const link = yield* Effect.option(fs.readLink(path))
    if (Option.isSome(link)) return { _tag: "Link" as const, target: link.value }
    return yield* fs.readFile(path).pipe(
      Effect.map((bytes): Former => ({ _tag: "Content", bytes })),
      Effect.catchAll((error) =>
        Effect.succeed<Former>(isNotFound(error) ? { _tag: "Nothing" } : { _tag: "Unreadable" })
      )
    )
  })

/**
 * The folders of a path that do not exist. The search begins with the deepest folder, and stops at the first folder that exists.
 * The root of the path is not checked.
 */
const missingFolders = (path: string): Effect.Effect<ReadonlyArray<string>, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const missing: Array<string> = []
    for (const folder of [path, ...ancestors(path)].slice(0, -1)) {
      if (yield* Effect.isSuccess(fs.stat(folder))) break
      missing.push(folder)
    }
    return missing
  })

/** Reads the state that an installation is about to change. */
export const remember = (
  options: Place,
  steps: ReadonlyArray<Step>
): Effect.Effect<Before, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = definitionPath(options)
    const folders = steps.flatMap((step) => step._tag === "MakeFolder" ? [step.path] : [])
    return {
      path,
      definition: yield* former(path),
      isEnabled: yield* Effect.isSuccess(fs.readLink(enablement(options))),
      missing: [...new Set((yield* Effect.forEach(folders, missingFolders)).flat())].toSorted((a, b) =>
        b.length - a.length
      )
    }
  })

/** How long one command of the service manager (for example `systemctl`) may take during an undo. */
const undoTimeout = Duration.seconds(10)

/**
 * Runs a command of the service manager. Ignores its failure: the undo may run because the manager does not work. This command
 * then fails too, but the rest of the undo must still run.
 */
const runManager = (options: UndoOptions, ...words: readonly [string, ...Array<string>]) =>
  execute(options, words).pipe(Effect.interruptible, Effect.timeout(undoTimeout), Effect.ignore)

/**
 * Restores the state from before the installation. This function changes and reports only the parts that the installation
 * changed.
 */
export const undo = (
  options: UndoOptions,
  before: Before
): Effect.Effect<void, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const attempt = (what: string, step: Effect.Effect<void, PlatformError, FileSystem.FileSystem>) =>
      Effect.zipRight(
        options.report(`undo: ${what}`),
        Effect.catchAll(step, (error) => options.report(`could not undo this step: ${describePlatformError(error)}`))
      )
    const { name } = serviceNames(options.manager, options.service.profile)
    const { definition, isEnabled, missing, path } = before
    const link = enablement(options)
    if (options.manager === "systemd" && !isEnabled && (yield* Effect.isSuccess(fs.readLink(link)))) {
      yield* attempt(`remove ${link}`, fs.remove(link))
    }
    if (options.manager === "launchd" && definition._tag === "Nothing") {
      yield* runManager(options, "launchctl", "bootout", `${launchdDomain(options)}/${name}`)
    }
    const now = yield* former(path)
    if (!isSame(now, definition)) {
      switch (definition._tag) {
        case "Nothing":
          yield* attempt(`remove ${path}`, fs.remove(path))
          break
        case "Content":
          yield* attempt(`restore ${path}`, writeAtomically(path, definition.bytes))
          break
        case "Link":
          yield* attempt(
            `restore link ${path}`,
            Effect.zipRight(fs.remove(path), fs.symlink(definition.target, path))
          )
          break
        case "Unreadable":
          break
      }
      if (options.manager === "systemd") yield* runManager(options, ...systemctl(options), "daemon-reload")
    }
    if (options.manager === "launchd" && definition._tag === "Content") {
      yield* runManager(options, "launchctl", "bootstrap", launchdDomain(options), path)
    }
    for (const folder of missing) {
      const names = yield* Effect.option(fs.readDirectory(folder))
      if (Option.exists(names, ({ length }) => length === 0)) {
        yield* attempt(`remove ${folder}`, fs.remove(folder, { recursive: true }))
      }
    }
  })

const isSame = (a: Former, b: Former): boolean =>
  a._tag === "Content" && b._tag === "Content"
    ? Buffer.from(a.bytes).equals(b.bytes)
    : a._tag === "Link" && b._tag === "Link"
    ? a.target === b.target
    : a._tag === b._tag
