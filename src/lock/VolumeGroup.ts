/**
 * Restores the mode of a lock folder that Kubernetes has opened to the group of a volume.
 *
 * If a pod sets `fsGroup`, kubelet walks through the volume before the pod starts. It gives every file and folder to that
 * group, makes them group-writable, and sets the setgid bit of the folders (`SetVolumeOwnership` in
 * kubernetes/pkg/volume/volume_linux.go). So the folder that the first pod made with mode 0700 has mode 2770 when the
 * second pod starts.
 *
 * A start takes the group's access away again (mode 0700), instead of refusing the folder, if no other user has used
 * that access:
 *
 * - The folder and every file in it belong to this user, and the group is one of this process's groups.
 * - No file has a hard link outside the folder. A file with such a link could be another program's lock, or a file that
 *   must not be overwritten.
 *
 * A user who had access until then can still have a file of the folder open, and hold a lock on it. That can keep a
 * gateway from starting, but nothing more.
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

/** Whether a folder of this user has the mode and the group that kubelet sets. Pure. */
export const isOpened = ({ gid, mode, uid }: Facts, ownUid: number, groups: ReadonlyArray<number>): boolean =>
  (mode & (setgid | groupWrite)) === (setgid | groupWrite) && (mode & othersWrite) === 0
  && Option.contains(uid, ownUid) && Option.exists(gid, (gid) => groups.includes(gid))

/** Whether every file in the folder belongs to this user and has all its hard links in the folder. */
const isOursAlone = (folder: string, ownUid: number): Effect.Effect<boolean, PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const identify = yield* NativeFiles.identify
    const names = new Map<string, { readonly links: number; seen: number }>()
    for (const name of yield* fs.readDirectory(folder)) {
      const path = NodePath.join(folder, name)
      if (Option.isSome(yield* linkTarget(fs, path))) return false
      const info = yield* Effect.option(fs.stat(path))
      // The file was removed after the folder was read. For example, a start removes its temporary files.
      if (Option.isNone(info)) continue
      const { nlink, type, uid } = info.value
      if (type !== "File" || !Option.contains(uid, ownUid)) return false
      const inode = yield* Effect.option(identify(info.value, path))
      if (Option.isNone(inode)) continue
      const known = names.get(inode.value) ?? { links: Option.getOrElse(nlink, () => 0), seen: 0 }
      names.set(inode.value, { ...known, seen: known.seen + 1 })
    }
    return [...names.values()].every(({ links, seen }) => links === seen)
  })

/** Whether a start of a gateway would remove the group's access to this folder. The check itself changes nothing. */
export const isClosable = (
  folder: string,
  info: FileSystem.File.Info
): Effect.Effect<boolean, PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const ownUid = yield* Effect.flatten(UserId)
    const groups = yield* Effect.flatten(GroupIds)
    const fs = yield* FileSystem.FileSystem
    return Option.isSome(ownUid) && isOpened(info, ownUid.value, groups) && Option.isNone(yield* linkTarget(fs, folder))
      && (yield* isOursAlone(folder, ownUid.value))
  })

/**
 * Removes the group's access to the folder and to the files in it, if `isClosable` allows that. Otherwise leaves the folder as it
 * was. Returns the file info that the folder has afterwards. Changes no other folder.
 */
export const close = (
  folder: string,
  info: FileSystem.File.Info
): Effect.Effect<FileSystem.File.Info, PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const ownUid = yield* Effect.flatten(UserId)
    const fs = yield* FileSystem.FileSystem
    if (Option.isNone(ownUid) || !(yield* isClosable(folder, info))) return info
    yield* fs.chmod(folder, 0o700)
    // Another user may have added a file between the first check and the `chmod`, so check again.
    if (!(yield* isOursAlone(folder, ownUid.value))) {
      yield* fs.chmod(folder, info.mode & 0o7777)
      return info
    }
    for (const name of yield* fs.readDirectory(folder)) {
      yield* Effect.catchIf(fs.chmod(NodePath.join(folder, name), 0o600), isNotFound, () => Effect.void)
    }
    yield* Effect.logInfo(
      `closed gateway lock folder ${folder} (mode ${
        octal(info.mode)
      }) to the volume's group: all its files belong to this user`
    )
    return yield* fs.stat(folder)
  })
