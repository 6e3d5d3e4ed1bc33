/**
 * May our locks be kept in this folder?
 *
 * Who can write in it can put a link in the place of a lock file, and have us write where it leads, or replace the file
 * under us. So it must be ours and ours alone to write, and no link to another. The sticky bit does not help: it keeps
 * names from being taken away, not from being given.
 *
 * What is above it may be links, and others' to write: whoever can move the folder away can keep us from running, and no
 * more.
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import { LockUnavailable } from "../GatewayLockError.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import { patientFiles } from "../host/momentary.ts"
import { UserId } from "../host/UserId.ts"
import { adviceFor } from "../internal/advice.ts"
import { ancestors } from "../internal/ancestors.ts"
import { describePlatformError, isAlreadyExists, isNotFound } from "../internal/describeError.ts"
import { hasModeBits, octal } from "../internal/permissions.ts"
import { linkTarget } from "./Snapshot.ts"
import * as VolumeGroup from "./VolumeGroup.ts"

const othersMayWrite = 0o022

/** What is wrong with a folder. */
export interface Fault {
  readonly what: string
  /** The command that mends it. */
  readonly remedy: string
}

/** What is wrong with a folder that is a symbolic link, for a start and for `doctor`, which call it `name`. Pure. */
export const linkFault = (path: string, target: string, name: string, platform: string): Fault => ({
  what: `${name} is a symbolic link to ${target}`,
  remedy: adviceFor(platform).removeFolderLink(path)
})

/**
 * What is wrong with the folder of a user's locks, for a start and for `doctor`, which call it `name`. Pure.
 *
 * Only this folder is judged, not what is above it; where users have no numbers or, as on Windows, there are no mode bits, not
 * even this one.
 */
export const fault = (
  path: string,
  uid: number | undefined,
  folder: { readonly uid: number | undefined; readonly mode: number },
  name: string,
  platform: string
): Option.Option<Fault> => {
  if (!hasModeBits(platform) || uid === undefined || folder.uid === undefined) return Option.none()
  const advice = adviceFor(platform)
  const mode = `mode ${octal(folder.mode)}`
  if (folder.uid !== uid) {
    return Option.some({
      what: `${name} ${path} belongs to uid ${folder.uid} (${mode}), and we are uid ${uid}`,
      remedy: advice.own(path, uid)
    })
  }
  return (folder.mode & othersMayWrite) === 0 ? Option.none() : Option.some({
    what: `others may write in ${name} ${path} (${mode}, uid ${uid})`,
    remedy: advice.closeToOthers(path)
  })
}

/** Why a folder cannot be made whose path begins with a root that does not exist, for a start and for `doctor`. */
export const rootMissing = (root: string): string => `cannot be made: ${root} does not exist (no such drive or share)`

/** The root of a path does not exist. Internal to this module. */
class RootMissing {
  readonly _tag = "RootMissing"
  readonly root: string
  constructor(root: string) {
    this.root = root
  }
}

/**
 * Folder by folder: Node's own recursive way answers `ENOENT` where the file system is full, read-only or broken. A root that
 * does not exist has no folder above it that could be made.
 */
const makeFolders = (path: string): Effect.Effect<void, PlatformError | RootMissing, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* patientFiles
    const makeOne = (path: string) =>
      Effect.catchIf(
        fs.makeDirectory(path, { mode: 0o700 }),
        isAlreadyExists,
        (error) => Effect.flatMap(fs.stat(path), ({ type }) => type === "Directory" ? Effect.void : Effect.fail(error))
      )
    const missing: Array<string> = []
    for (const folder of [path, ...ancestors(path)]) {
      if (yield* Effect.as(makeOne(folder), true).pipe(Effect.catchIf(isNotFound, () => Effect.succeed(false)))) {
        yield* Effect.forEach(missing.toReversed(), makeOne, { discard: true })
        return
      }
      missing.push(folder)
    }
    return yield* Effect.fail(new RootMissing(missing.at(-1) ?? path))
  })

/**
 * Makes the folder of a lock file where it is missing (mode 0700), and looks whether it may be used. A folder that is there
 * is never changed, but for one that Kubernetes has opened to a volume's group (`VolumeGroup`).
 *
 * Fails with `LockUnavailable`.
 */
export const ensure = (path: string): Effect.Effect<void, LockUnavailable, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const folder = NodePath.dirname(path)
    const fs = yield* patientFiles
    const platform = yield* HostPlatform
    yield* makeFolders(folder)
    // Also one that we have just made: on some file systems everything is somebody else's.
    const seen = yield* fs.stat(folder)
    const info = hasModeBits(platform) ? yield* VolumeGroup.close(folder, seen) : seen
    const target = yield* linkTarget(fs, folder)
    const uid = Option.getOrUndefined(yield* Effect.flatten(UserId))
    const owner = Option.getOrUndefined(info.uid)
    const wrong = Option.isSome(target)
      ? Option.some(linkFault(folder, target.value, `its folder ${folder}`, platform))
      : fault(folder, uid, { uid: owner, mode: info.mode }, "its folder", platform)
    if (Option.isSome(wrong)) {
      const { remedy, what } = wrong.value
      return yield* new LockUnavailable({ path, reason: `${what}; run: ${remedy}` })
    }
  }).pipe(
    Effect.mapError((error) =>
      error._tag === "LockUnavailable"
        ? error
        : error._tag === "RootMissing"
        ? new LockUnavailable({ path, reason: `its folder ${rootMissing(error.root)}` })
        : new LockUnavailable({ path, reason: describePlatformError(error), cause: error })
    )
  )
