/**
 * Does that process have that file open? The kernel's word on who a lock file's owner is, where it can be asked.
 *
 * A record can be forged, copied or left behind; an open file cannot.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as NativeFiles from "./NativeFiles.ts"

/** Sockets, pipes and the like: they have no path, and there can be thousands. */
const isFile = (link: string): boolean => link.startsWith("/")

/**
 * `None` where it cannot be told: without `/proc` (proc(5)), or of another user's process.
 */
export const hasOpen = (
  pid: number,
  path: string
): Effect.Effect<Option.Option<boolean>, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const identify = yield* NativeFiles.identify
    const idOf = (path: string) => Effect.flatMap(fs.stat(path), (info) => identify(info, path))
    const id = yield* idOf(path)
    const folder = `/proc/${pid}/fd`
    const files = yield* Effect.forEach(yield* fs.readDirectory(folder), (name) => {
      const file = `${folder}/${name}`
      return fs.readLink(file).pipe(
        Effect.flatMap((link) => isFile(link) ? idOf(file) : Effect.succeed("")),
        // It may have been closed since.
        Effect.orElseSucceed(() => "")
      )
    }, { concurrency: 16 })
    return Option.some(files.includes(id))
  }).pipe(Effect.orElseSucceed(() => Option.none()))
