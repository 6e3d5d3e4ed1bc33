/**
 * Finds the processes that have a file open that they inherited.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ProcFiles from "./ProcFiles.ts"

/**
 * Finds the processes that have a file open.
 *
 * @since 0.1.0
 * @category tags
 */
export class FileHolders extends Context.Tag("gateway-lock/FileHolders")<FileHolders, {
  /**
   * The pids of the processes, other than this process, that have an open file whose link in `/proc/<pid>/fd` has this text, such
   * as `socket:[<inode>]`. Never fails. The list is empty where the system does not show open files, which is everywhere but on
   * Linux.
   */
  readonly holdersOf: (target: string) => Effect.Effect<ReadonlyArray<number>>
}>() {}

const timeLimit = Duration.seconds(2)

const fromProc = (target: string) =>
  Effect.gen(function*() {
    const found: Array<number> = []
    yield* ProcFiles.scan((pid, files) => {
      if (pid !== process.pid && files().some((file) => file.target === target)) found.push(pid)
      return "more"
    }, timeLimit)
    return found
  })

/**
 * Reads `/proc` on Linux (proc_pid_fd(5)).
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<FileHolders> = Layer.succeed(
  FileHolders,
  FileHolders.of({
    holdersOf: (target) => process.platform === "linux" ? fromProc(target) : Effect.succeed([])
  })
)
