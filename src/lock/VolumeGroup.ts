/**
 * Closes a lock folder again that Kubernetes has opened to the group of a volume.
 *
 * With `fsGroup`, kubelet walks through the volume before a pod starts: it gives every file and folder to that group,
 * writable, and sets the setgid bit of the folders (`SetVolumeOwnership` in kubernetes/pkg/volume/volume_linux.go). So the
 * folder that the first pod made with mode 0700 has 2770 when the second one starts.
 *
 * Such a folder is closed, and not refused, where nobody else has used the opening: it and every file in it are this
 * user's, the group is one of this process's, and no file has a name elsewhere, by which it could be another's lock or a
 * file that is worth writing over. Whoever could write there until now can still have a file of it open, and with it its
 * lock; that can keep a gateway from starting, and no more.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import * as NativeFiles from "../host/NativeFiles.ts"
import { GroupIds, UserId } from "../host/UserId.ts"
import { isNotFound } from "../internal/describeError.ts"
import { octal } from "../internal/permissions.ts"
import { linkTarget } from "./Snapshot.ts"

const setgid = 0o2000
const groupWrite = 0o020
const othersWrite = 0o002

type Facts = Pick<FileSystem.File.Info, "mode" | "uid" | "gid">

/** Whether a folder of this user looks as kubelet leaves it. Pure. */
export const isOpened = ({ gid, mode, uid }: Facts, us: number, groups: ReadonlyArray<number>): boolean =>
  (mode & (setgid | groupWrite)) === (setgid | groupWrite) && (mode & othersWrite) === 0
  && Option.contains(uid, us) && Option.exists(gid, (gid) => groups.includes(gid))

/** Whether every file in the folder is this user's, and has all of its names there. */
const isOursAlone = (folder: string, us: number): Effect.Effect<boolean, PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const identify = yield* NativeFiles.identify
    const names = new Map<string, { readonly links: number; seen: number }>()
    for (const name of yield* fs.readDirectory(folder)) {
      const path = NodePath.join(folder, name)
      if (Option.isSome(yield* linkTarget(fs, path))) return false
      const info = yield* Effect.option(fs.stat(path))
      // Removed since, as a claim is.
      if (Option.isNone(info)) continue
      const { nlink, type, uid } = info.value
      if (type !== "File" || !Option.contains(uid, us)) return false
      const inode = yield* Effect.option(identify(info.value, path))
      if (Option.isNone(inode)) continue
      const known = names.get(inode.value) ?? { links: Option.getOrElse(nlink, () => 0), seen: 0 }
      names.set(inode.value, { ...known, seen: known.seen + 1 })
    }
    return [...names.values()].every(({ links, seen }) => links === seen)
  })

/** Whether a start would close the folder. Changes nothing. */
export const isClosable = (
  folder: string,
  info: FileSystem.File.Info
): Effect.Effect<boolean, PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const us = yield* Effect.flatten(UserId)
    const groups = yield* Effect.flatten(GroupIds)
    const fs = yield* FileSystem.FileSystem
    return Option.isSome(us) && isOpened(info, us.value, groups) && Option.isNone(yield* linkTarget(fs, folder))
      && (yield* isOursAlone(folder, us.value))
  })

/** What is known of the folder once it is closed, or as it was where it is not to be. Touches no other folder. */
export const close = (
  folder: string,
  info: FileSystem.File.Info
): Effect.Effect<FileSystem.File.Info, PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const us = yield* Effect.flatten(UserId)
    const fs = yield* FileSystem.FileSystem
    if (Option.isNone(us) || !(yield* isClosable(folder, info))) return info
    yield* fs.chmod(folder, 0o700)
    // What was put there before it was closed, and after the first look.
    if (!(yield* isOursAlone(folder, us.value))) {
      yield* fs.chmod(folder, info.mode & 0o7777)
      return info
    }
    for (const name of yield* fs.readDirectory(folder)) {
      yield* Effect.catchIf(fs.chmod(NodePath.join(folder, name), 0o600), isNotFound, () => Effect.void)
    }
    yield* Effect.logInfo(
      `closed gateway lock folder ${folder} (mode ${octal(info.mode)}) to the volume's group: it is this user's alone`
    )
    return yield* fs.stat(folder)
  })
