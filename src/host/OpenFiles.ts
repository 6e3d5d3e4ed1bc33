/**
 * Checks whether a process has a file open. With this check, `gateway stop` confirms that a process owns a lock file, before
 * it sends a signal to that process.
 *
 * The record in the lock file does not prove that the process owns the file, because a record can be forged, copied or left behind.
 * The kernel's list of a process's open files cannot be forged.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as NativeFiles from "./NativeFiles.ts"

/**
 * Whether the text of a link in `/proc/<pid>/fd` is a path. Sockets and pipes have no path, and a process can have thousands
 * of them. So the caller skips these links instead of calling stat(2) for each.
 */
const isFile = (link: string): boolean => link.startsWith("/")

/** Whether a process has a file open. `None` if there is no `/proc` (proc(5)), or if another user owns the process. */
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
        // The process may have closed the descriptor since the folder was read.
        Effect.orElseSucceed(() => "")
      )
    }, { concurrency: 16 })
    return Option.some(files.includes(id))
  }).pipe(Effect.orElseSucceed(() => Option.none()))
