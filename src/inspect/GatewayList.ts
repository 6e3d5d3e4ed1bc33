/**
 * Lists every gateway of this user on this host.
 *
 * The search covers the state directories of all profiles. A profile is the name of one of the gateways of a user. On platforms
 * that show the open files of a process, the search also finds gateways whose state directory belongs to no profile. A
 * lock file that a dead gateway left is listed with the verdict `dead`.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as NodePath from "node:path"
import { realPath } from "../host/NativeFiles.ts"
import { isConfigLock, OpenLockFiles } from "../host/OpenLockFiles.ts"
import { PlatformFolders } from "../host/PlatformFolders.ts"
import { describePlatformError, isNotFound } from "../internal/describeError.ts"
import { errnoOf } from "../internal/errno.ts"
import { lockFolder } from "../lock/LockPaths.ts"
import * as GatewayStatus from "./GatewayStatus.ts"
import type { GatewayList } from "./ListModel.ts"

export { GatewayList, type GatewayListEncoded } from "./ListModel.ts"

/**
 * The services that `list` needs from the machine.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements = GatewayStatus.Requirements | OpenLockFiles

interface Found {
  readonly paths: ReadonlyArray<string>
  readonly notCovered: ReadonlyArray<string>
}

const nothing: Found = { paths: [], notCovered: [] }

const together = (found: ReadonlyArray<Found>): Found => ({
  paths: [...new Set(found.flatMap(({ paths }) => paths))],
  notCovered: found.flatMap(({ notCovered }) => notCovered)
})

/** Passes the names in a folder to `use`. A folder that does not exist has no names. */
const namesIn = (
  folder: string,
  use: (names: ReadonlyArray<string>) => Effect.Effect<Found, never, FileSystem.FileSystem>
) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const names = yield* Effect.either(fs.readDirectory(folder))
    if (Either.isRight(names)) return yield* use(names.right)
    // A file among the folders of the profiles gives `ENOTDIR`. It contains no lock files, so the list is complete without it.
    return isNotFound(names.left) || errnoOf(names.left) === "ENOTDIR"
      ? nothing
      : { paths: [], notCovered: [`${folder}: ${describePlatformError(names.left)}`] }
  })

const inProfiles = Effect.gen(function*() {
  const folders = yield* PlatformFolders
  if (Either.isLeft(folders.stateRoot)) {
    return { paths: [], notCovered: [`gateways of the profiles: ${folders.stateRoot.left.message}`] }
  }
  const stateRoot = folders.stateRoot.right
  const root = yield* Effect.orElseSucceed(realPath(stateRoot), () => stateRoot)
  return yield* namesIn(root, (profiles) =>
    Effect.map(
      Effect.forEach(profiles, (profile) => {
        const folder = lockFolder({ stateDir: NodePath.join(root, profile) })
        return namesIn(folder, (names) =>
          Effect.succeed({
            paths: names.map((name) => NodePath.join(folder, name)).filter(isConfigLock),
            notCovered: []
          }))
      }),
      together
    ))
})

const inProcesses = Effect.gen(function*() {
  const open = yield* Effect.flatMap(OpenLockFiles, ({ paths }) => paths)
  return open._tag === "Seen"
    ? { paths: open.paths, notCovered: [] }
    : { paths: [], notCovered: [`gateways with a state directory of their own: ${open.reason}`] }
})

/** How many gateways are inspected at the same time. One inspection can take as long as two health probes. */
const concurrency = 32

/**
 * Finds all gateways of this user and inspects each one.
 *
 * Changes nothing and never fails. Places that cannot be searched are in `notCovered`.
 *
 * @example
 * import { Console, Effect } from "effect"
 * import { Gateway, GatewayList } from "gateway-lock"
 *
 * const program = Effect.gen(function*() {
 *   const { gateways } = yield* GatewayList.list()
 *   for (const { owner, stateDir, verdict } of gateways) {
 *     yield* Console.log(`${verdict}, pid ${owner?.pid ?? "unknown"}: ${stateDir}`)
 *   }
 * }).pipe(Effect.provide(Gateway.layerNode))
 *
 * @since 0.1.0
 * @category reading
 */
export const list = (
  options: GatewayStatus.LookOptions = {}
): Effect.Effect<GatewayList, never, Requirements> =>
  Effect.gen(function*() {
    const { notCovered, paths } = together(yield* Effect.all([inProfiles, inProcesses], { concurrency: "unbounded" }))
    const gateways = yield* Effect.forEach(
      paths.toSorted(),
      (path) => GatewayStatus.inspectLock(path, options),
      { concurrency }
    )
    return {
      version: 1,
      asOf: yield* DateTime.now,
      // A gateway that shut down cleanly after the search has removed its lock file, so it is not listed.
      gateways: gateways.filter(({ lock }) => lock.state !== "absent"),
      notCovered
    }
  })
