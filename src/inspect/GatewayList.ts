/**
 * Every gateway of this user on this host: those of the profiles, and, where the platform shows it, those with a state
 * directory of their own. What dead ones left is listed as dead.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as NodePath from "node:path"
import { realPath } from "../host/NativeFiles.ts"
import { isConfigLock, OpenLockFiles } from "../host/OpenLockFiles.ts"
import { PlatformFolders } from "../host/PlatformFolders.ts"
import { describePlatformError, isNotFound } from "../internal/describeError.ts"
import { errnoOf } from "../internal/errno.ts"
import { lockFolder } from "../lock/LockPaths.ts"
import * as GatewayStatus from "./GatewayStatus.ts"

/**
 * What `gateway list` answers.
 *
 * @since 0.1.0
 * @category models
 */
export interface GatewayList extends Schema.Struct.Type<typeof fields> {}

/**
 * The same as JSON: times in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface GatewayListEncoded extends Schema.Struct.Encoded<typeof fields> {}

const fields = {
  /** Of this form; another meaning of a field is another version. */
  version: Schema.Literal(1),
  /** When the last of them was looked at. */
  asOf: Schema.DateTimeUtc,
  /** By the path of their state directory. */
  gateways: Schema.Array(GatewayStatus.GatewayStatus),
  /** Where gateways could not be looked for, and why; one line each. */
  notCovered: Schema.Array(Schema.String)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const GatewayList: Schema.Schema<GatewayList, GatewayListEncoded> = Schema.Struct(fields)

/**
 * What listing needs from the machine.
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

/** The names in a folder; one that is not there has none. */
const namesIn = (
  folder: string,
  use: (names: ReadonlyArray<string>) => Effect.Effect<Found, never, FileSystem.FileSystem>
) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const names = yield* Effect.either(fs.readDirectory(folder))
    if (Either.isRight(names)) return yield* use(names.right)
    // Not a folder: somebody's file among the profiles.
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

/** How many are looked at at one time: each can take two probes. */
const concurrency = 32

/**
 * Looks for all of them, and at each.
 *
 * Never fails: where it cannot look, `notCovered` tells. Changes nothing.
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
      // One that ended in order meanwhile is no longer there.
      gateways: gateways.filter(({ lock }) => lock.state !== "absent"),
      notCovered
    }
  })
