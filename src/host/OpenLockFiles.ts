/**
 * Which lock files do processes of this user have open? That is how gateways are found whose state directory is anywhere.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ProcFiles from "./ProcFiles.ts"

/**
 * - `Seen`: these, of the processes that can be seen.
 * - `Unseen`: it cannot be told, for that reason.
 *
 * @since 0.1.0
 * @category models
 */
export type OpenLocks =
  | { readonly _tag: "Seen"; readonly paths: ReadonlyArray<string> }
  | { readonly _tag: "Unseen"; readonly reason: string }

/**
 * The lock files that running processes have open. For finding gateways: nothing is decided by it.
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
  /** The paths of config lock files, each once. Never fails, and takes two seconds at most. */
  readonly paths: Effect.Effect<OpenLocks>
}>() {}

/**
 * Whether a path is that of a config's lock file, `…/locks/gateway.<8 hex digits>.lock`. Pure.
 *
 * @internal
 */
export const isConfigLock = (path: string): boolean => /[\\/]locks[\\/]gateway\.[0-9a-f]{8}\.lock$/.test(path)

const timeLimit = Duration.seconds(2)

/**
 * From `/proc` (proc_pid_fd(5)), the processes of one user. A lock file that another mount namespace has elsewhere is
 * passed over: from here, its path is another file's or nobody's.
 *
 * @internal
 */
export const layerProc = (user: number): Layer.Layer<OpenLockFiles> =>
  Layer.succeed(
    OpenLockFiles,
    OpenLockFiles.of({
      paths: Effect.gen(function*() {
        const paths = new Set<string>()
        const inTime = yield* ProcFiles.scan((pid, files) => {
          if (ProcFiles.userOf(pid) !== user) return "more"
          for (const { link, target } of files()) {
            if (isConfigLock(target) && !paths.has(target) && ProcFiles.isSameFile(link, target)) paths.add(target)
          }
          return "more"
        }, timeLimit)
        return inTime
          ? { _tag: "Seen", paths: [...paths] }
          : { _tag: "Unseen", reason: `/proc was not read to its end within ${Duration.format(timeLimit)}` }
      })
    })
  )

/**
 * Where there is no way to find out: always `Unseen`, for that reason.
 *
 * @internal
 */
export const layerUnseen = (reason: string): Layer.Layer<OpenLockFiles> =>
  Layer.succeed(OpenLockFiles, OpenLockFiles.of({ paths: Effect.succeed({ _tag: "Unseen", reason }) }))

/**
 * From `/proc` on Linux; elsewhere nothing is seen.
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
