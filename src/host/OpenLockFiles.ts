/**
 * Finds the lock files that processes of this user have open. A gateway keeps its lock files in its state directory and has them
 * open. So this module finds a gateway even if its state directory is unknown.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { formatDuration } from "../internal/formatDuration.ts"
import * as ProcFiles from "./ProcFiles.ts"

/**
 * The result of looking for open lock files.
 *
 * - `Seen`: the lock files that visible processes have open.
 * - `Unseen`: the system did not show them, and `reason` says why.
 *
 * @since 0.1.0
 * @category models
 */
export type OpenLocks =
  | { readonly _tag: "Seen"; readonly paths: ReadonlyArray<string> }
  | { readonly _tag: "Unseen"; readonly reason: string }

/**
 * Lists the lock files that running processes have open. The list is only used to find gateways, and never to decide who owns
 * a lock.
 *
 * @example
 * import { Console, Effect } from "effect"
 * import { Host } from "gateway-lock"
 *
 * const program = Effect.gen(function*() {
 *   const open = yield* Effect.flatMap(Host.OpenLockFiles.OpenLockFiles, ({ paths }) => paths)
 *   yield* Console.log(open._tag === "Seen" ? open.paths.join("\n") : open.reason)
 * }).pipe(Effect.provide(Host.OpenLockFiles.layerLive))
 *
 * @since 0.1.0
 * @category tags
 */
export class OpenLockFiles extends Context.Tag("gateway-lock/OpenLockFiles")<OpenLockFiles, {
  /**
   * The paths of the open lock files, without duplicates. A gateway has two lock files, and only the one for its config file is
   * listed. Never fails, and reads for two seconds at most.
   */
  readonly paths: Effect.Effect<OpenLocks>
  /**
   * The pids of the processes that hold the kernel lock on a file: the process that acquired it, and the processes that inherited
   * the open file. Empty if the system does not show them. Never fails, and reads for two seconds at most.
   */
  readonly holders: (path: string) => Effect.Effect<ReadonlyArray<number>>
}>() {}

/**
 * Whether a path names the lock file for a config file: `…/locks/gateway.<8 hex digits>.lock`. Pure.
 *
 * @internal
 */
export const isConfigLock = (path: string): boolean => /[\\/]locks[\\/]gateway\.[0-9a-f]{8}\.lock$/.test(path)

const timeLimit = Duration.seconds(2)

/**
 * Reads open files from `/proc` (proc_pid_fd(5)). `paths` contains only the lock files that processes of `user` have open.
 *
 * A process in another mount namespace may have a lock file open under a path that names another file, or no file, in the
 * namespace of this process. So a lock file is ignored if its path does not lead to the same file in both namespaces.
 *
 * @internal
 */
export const layerProc = (user: number): Layer.Layer<OpenLockFiles> =>
  Layer.succeed(
    OpenLockFiles,
    OpenLockFiles.of({
      paths: Effect.gen(function*() {
        const paths = new Set<string>()
        const inTime = yield* ProcFiles.scan({
          reads: (pid) => ProcFiles.userOf(pid) === user,
          file: (_, { link, target }) => {
            if (isConfigLock(target) && !paths.has(target) && ProcFiles.isSameFile(link, target)) paths.add(target)
            return "more"
          },
          limit: timeLimit
        })
        return inTime
          ? { _tag: "Seen", paths: [...paths] }
          : { _tag: "Unseen", reason: `reading /proc took longer than ${formatDuration(timeLimit)}` }
      }),
      holders: (path) =>
        Effect.gen(function*() {
          const pids = new Set<number>()
          yield* ProcFiles.scan({
            file: (pid, { link, target }) => {
              if (target === path && !pids.has(pid) && ProcFiles.isSameFile(link, path) && ProcFiles.isLocked(link)) {
                pids.add(pid)
              }
              return "more"
            },
            limit: timeLimit
          })
          return [...pids]
        })
    })
  )

/**
 * For platforms that do not show open files. `paths` is always `Unseen` with the given reason, and `holders` is always empty.
 *
 * @internal
 */
export const layerUnseen = (reason: string): Layer.Layer<OpenLockFiles> =>
  Layer.succeed(
    OpenLockFiles,
    OpenLockFiles.of({ paths: Effect.succeed({ _tag: "Unseen", reason }), holders: () => Effect.succeed([]) })
  )

/**
 * Reads `/proc` on Linux. On other platforms the result is always `Unseen`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<OpenLockFiles> = Layer.suspend(() => {
  const user = process.getuid?.()
  return process.platform === "linux" && user !== undefined
    ? layerProc(user)
    : layerUnseen("only Linux shows which files a process has open")
})
