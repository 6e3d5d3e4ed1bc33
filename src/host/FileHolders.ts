/**
 * Finds the processes that hold a lock through an open file that they have inherited.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ProcFiles from "./ProcFiles.ts"

/**
 * Finds the processes that hold a lock because they have inherited an open file with that lock.
 *
 * @since 0.1.0
 * @category tags
 */
export class FileHolders extends Context.Tag("gateway-lock/FileHolders")<FileHolders, {
  /**
   * The pids of the processes, other than this process, that hold a lock on a file (`<device>:<inode>`). A process that has only
   * opened the file is not listed. Never fails. The list is empty where the system does not show locks of open files, which is
   * everywhere but on Linux.
   */
  readonly holdersOf: (file: string) => Effect.Effect<ReadonlyArray<number>>
}>() {}

const timeLimit = Duration.seconds(2)

const fromProc = (file: string) =>
  Effect.gen(function*() {
    const found = new Set<number>()
    yield* ProcFiles.scan({
      reads: (pid) => pid !== process.pid,
      file: (pid, { link, target }) => {
        const isHolder = !found.has(pid) && target.startsWith("/") && ProcFiles.fileId(link) === file
          && ProcFiles.isLocked(link)
        if (isHolder) found.add(pid)
        return "more"
      },
      limit: timeLimit
    })
    return [...found]
  })

/**
 * Reads `/proc` on Linux (proc_pid_fd(5), proc_pid_fdinfo(5)).
 *
 * @internal
 */
export const live: FileHolders["Type"] = FileHolders.of({
  holdersOf: (file) => process.platform === "linux" ? fromProc(file) : Effect.succeed([])
})
/**
 * `live` as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<FileHolders> = Layer.succeed(FileHolders, live)
