/**
 * Checks that it is safe to keep lock files in a folder.
 *
 * A user who can write in the folder can replace a lock file. That user can also put a symbolic link in its place, so
 * that the gateway writes to the link's target. So the folder must belong to this user, must not be writable by others,
 * and must not be a symbolic link. A sticky bit on the folder is not enough. It keeps others from removing files, but
 * not from creating files.
 *
 * The folders above the lock folder may be symbolic links, or writable by others. A user who can move the lock folder
 * away can keep the gateway from running, but nothing more.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import { LockUnavailable } from "../GatewayLockError.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import { makeFolders, rootMissing } from "../host/makeFolders.ts"
import { patientFiles } from "../host/momentary.ts"
import { UserId } from "../host/UserId.ts"
import { adviceFor } from "../internal/advice.ts"
import { describePlatformError } from "../internal/describeError.ts"
import { hasModeBits, octal } from "../internal/permissions.ts"
import { linkTarget } from "./Snapshot.ts"
import * as VolumeGroup from "./VolumeGroup.ts"

const othersMayWrite = 0o022

/** A reason not to keep lock files in a folder. */
export interface Fault {
  readonly what: string
  /** The command that corrects the fault. */
  readonly remedy: string
}

/**
 * The fault of a lock folder that is a symbolic link. A start and `gateway doctor` both report it. `name` is the
 * phrase for the folder in `what`. Pure.
 */
export const linkFault = (path: string, target: string, name: string, platform: string): Fault => ({
  what: `${name} is a symbolic link to ${target}`,
  remedy: adviceFor(platform).removeFolderLink(path)
})

/**
 * Checks the folder of a user's locks, and returns its fault if it has one. A start and `gateway doctor` both report
 * the fault. `name` is the phrase for the folder in the fault's `what`. Pure.
 *
 * Checks this folder only, not the folders above it. Finds no fault on platforms without user ids or mode bits, such as
 * Windows.
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
      what: `${name} ${path} belongs to uid ${folder.uid} (${mode}), but this process runs as uid ${uid}`,
      remedy: advice.changeOwner(path, uid)
    })
  }
  return (folder.mode & othersMayWrite) === 0 ? Option.none() : Option.some({
    what: `other users may write in ${name} ${path} (${mode}, uid ${uid})`,
    remedy: advice.closeToOthers(path)
  })
}

/**
 * Makes the folder of a lock file if it is missing (mode 0700), and checks that it can be used. An existing folder is
 * never changed, with one exception: a folder that Kubernetes has made writable for a volume's group (`VolumeGroup`).
 *
 * Fails with `LockUnavailable` if the folder cannot be made or is not safe.
 */
export const ensure = (path: string): Effect.Effect<void, LockUnavailable, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const folder = NodePath.dirname(path)
    const fs = yield* patientFiles
    const platform = yield* HostPlatform
    const present = Option.filter(yield* Effect.option(fs.stat(folder)), ({ type }) => type === "Directory")
    // A folder that was just made is checked too, because some file systems give every file to one fixed user, such as root.
    const seen = Option.isSome(present)
      ? present.value
      : yield* Effect.zipRight(makeFolders(folder, 0o700), fs.stat(folder))
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
        ? new LockUnavailable({ path, reason: `its folder cannot be made: ${rootMissing(error.root)}` })
        : new LockUnavailable({ path, reason: describePlatformError(error), cause: error })
    )
  )
