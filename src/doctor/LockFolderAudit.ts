/**
 * Checks that a folder can hold lock files: the folder's owner, its permissions, and whether its file system enforces locks.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as NodePath from "node:path"
import { HostPlatform } from "../host/HostPlatform.ts"
import { KernelLock, type KernelLockFailed, type KernelLockUnsupported } from "../host/KernelLock.ts"
import { rootMissing } from "../host/makeFolders.ts"
import { adviceFor } from "../internal/advice.ts"
import { ancestors } from "../internal/ancestors.ts"
import { describePlatformError, isNotFound } from "../internal/describeError.ts"
import { hasModeBits, octal } from "../internal/permissions.ts"
import * as LockFolder from "../lock/LockFolder.ts"
import { lockFolder } from "../lock/LockPaths.ts"
import * as SelfTest from "../lock/SelfTest.ts"
import { linkTarget } from "../lock/Snapshot.ts"
import * as VolumeGroup from "../lock/VolumeGroup.ts"
import { error, type Finding, info, ok, warning } from "./DoctorReport.ts"

/**
 * The options of the folder checks: the state directory, the user of this process, and a command for the advice.
 *
 * @since 0.1.0
 * @category models
 */
export interface FolderOptions {
  /** An absolute path. */
  readonly stateDir: string
  /** The user ID of this process; `undefined` on Windows. */
  readonly uid: number | undefined
  /** The command that starts this gateway in another state directory. */
  readonly elsewhere: string
}

// ---------------------------------------------------------------------------
// owner and permissions
// ---------------------------------------------------------------------------

/**
 * The attributes of a folder that `judgeFolder` needs.
 *
 * @since 0.1.0
 * @category models
 */
export interface FolderFacts {
  readonly path: string
  readonly type: FileSystem.File.Type
  /** Permission bits. */
  readonly mode: number
  readonly uid: number | undefined
}

/**
 * The reasons why a gateway would refuse to keep its locks in a folder. The result is empty if the gateway would accept the
 * folder. Pure.
 *
 * @since 0.1.0
 * @category decisions
 */
export const judgeFolder = (
  { mode, path, type, uid }: FolderFacts,
  ours: number | undefined,
  platform: string
): ReadonlyArray<Finding> => {
  if (type !== "Directory") {
    return [
      error("lock-folder", `${path} is not a folder but a ${type}`, adviceFor(platform).rename(path, `${path}.old`))
    ]
  }
  return Option.match(LockFolder.fault(path, ours, { uid, mode }, "the folder", platform), {
    onNone: () => [],
    onSome: ({ remedy, what }) => [error("lock-folder", what, remedy)]
  })
}

const factsOf = (path: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const { mode, type, uid } = yield* fs.stat(path)
    return { path, type, mode, uid: Option.getOrUndefined(uid) } satisfies FolderFacts
  })

/** The nearest existing folder above a path. If not even the root exists (an absent drive on Windows), the result is the root. */
const existingAbove = (path: string): Effect.Effect<string, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const above = ancestors(path)
    for (const folder of above) if (yield* Effect.isSuccess(fs.stat(folder))) return folder
    return above.at(-1) ?? path
  })

const missing = (folder: string, { elsewhere, stateDir, uid }: FolderOptions) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const above = yield* existingAbove(folder)
    const advice = adviceFor(yield* HostPlatform)
    const seen = yield* Effect.either(factsOf(above))
    if (Either.isLeft(seen) && isNotFound(seen.left)) {
      return [error("lock-folder", `${folder} cannot be made: ${rootMissing(above)}`, elsewhere)]
    }
    const { type } = yield* seen
    if (type !== "Directory") {
      return [error("lock-folder", `${folder} cannot be made: ${above} is not a folder`, advice.showAccess([above]))]
    }
    return yield* fs.access(above, { writable: true }).pipe(
      Effect.match({
        onSuccess: () => [ok("lock-folder", `${folder} does not exist yet and can be made in ${above}`)],
        onFailure: (cause) => [
          error(
            "lock-folder",
            `${folder} cannot be made: ${describePlatformError(cause)}`,
            advice.makeFolder(stateDir, uid)
          )
        ]
      })
    )
  })

/**
 * Checks the owner and the permissions of the folder that holds the lock files. Changes nothing.
 *
 * @since 0.1.0
 * @category checks
 */
export const checkFolder = (
  options: FolderOptions
): Effect.Effect<ReadonlyArray<Finding>, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = lockFolder(options)
    const platform = yield* HostPlatform
    const advice = adviceFor(platform)
    const target = yield* linkTarget(fs, folder)
    if (Option.isSome(target)) {
      const { remedy, what } = LockFolder.linkFault(folder, target.value, folder, platform)
      return [error("lock-folder", `${what}: the owner of that folder controls the locks`, remedy)]
    }
    const seen = yield* Effect.either(factsOf(folder))
    if (seen._tag === "Left") {
      return isNotFound(seen.left)
        ? yield* missing(folder, options)
        : [
          error(
            "lock-folder",
            `${folder} cannot be inspected: ${describePlatformError(seen.left)}`,
            advice.changeOwnerAsRoot(options.stateDir, options.uid)
          )
        ]
    }
    const findings = judgeFolder(seen.right, options.uid, platform)
    if (findings.length > 0) {
      if (!(yield* VolumeGroup.isClosable(folder, yield* fs.stat(folder)))) return findings
      const mode = octal(seen.right.mode)
      return [
        info(
          "lock-folder",
          `${folder} is open to a volume's group (mode ${mode}), but all its files belong to this user: the next start closes it`
        )
      ]
    }
    return yield* fs.access(folder, { writable: true }).pipe(
      Effect.match({
        onSuccess: () =>
          hasModeBits(platform)
            ? [ok("lock-folder", `${folder} belongs to this user, mode ${octal(seen.right.mode)}`)]
            : [
              ok("lock-folder", `${folder} can be written`),
              info(
                "lock-folder",
                "the write access of other users is not checked, because Windows keeps it in access control lists; to see them: "
                  + advice.showAccess([folder])
              )
            ],
        onFailure: (cause) => [
          error(
            "lock-folder",
            `${folder} cannot be written: ${describePlatformError(cause)}`,
            /EROFS/.test(describePlatformError(cause)) ? options.elsewhere : advice.makeWritable(folder)
          )
        ]
      })
    )
  }).pipe(
    // This failure occurs if the folder is removed, or its permissions change, between two system calls of this check.
    Effect.catchAll((cause) =>
      Effect.map(HostPlatform, (platform) => [
        error(
          "lock-folder",
          `${lockFolder(options)} cannot be inspected: ${describePlatformError(cause)}`,
          adviceFor(platform).showAccess([options.stateDir, lockFolder(options)])
        )
      ])
    )
  )

// ---------------------------------------------------------------------------
// locks of the file system
// ---------------------------------------------------------------------------

/** Decodes octal escapes such as `\040`, which stand for spaces and other separators (proc_pid_mountinfo(5)). */
const unescapeMount = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))

/**
 * The type of the file system that a path is on, read from the text of `/proc/self/mountinfo`. The deepest mount point
 * at or above the path counts. Of several mounts on one point, the last counts. Pure.
 *
 * @since 0.1.0
 * @category decoding
 */
export const filesystemType = (mountinfo: string, path: string): Option.Option<string> => {
  let best: { readonly point: string; readonly type: string } | undefined
  for (const line of mountinfo.split("\n")) {
    const [mounted = "", source = ""] = line.split(" - ")
    const point = unescapeMount(mounted.split(" ")[4] ?? "")
    const type = source.split(" ")[0]
    if (point === "" || type === undefined || type === "") continue
    const isAbove = path === point || path.startsWith(point === "/" ? "/" : `${point}/`)
    if (isAbove && point.length >= (best?.point.length ?? 0)) best = { point, type }
  }
  return Option.fromNullable(best?.type)
}

/**
 * Explains the limits of locks on a type of file system; `undefined` if the type has no known limit. Pure.
 *
 * @since 0.1.0
 * @category decisions
 */
export const hintFor = (type: string): string | undefined => {
  if (/^(nfs4?|cifs|smb3?|ceph|glusterfs|lustre)$/.test(type)) {
    return "a network file system: its locks may not exclude other machines"
  }
  if (/^(9p|virtiofs|vboxsf|prl_fs|drvfs|fuse(\..*)?|fuseblk|grpcfuse|osxfs)$/.test(type)) {
    return "shared with a host or provided by a program: its locks may not exclude other machines, or any process at all"
  }
  if (type === "overlay") {
    return "a container's own layer: it is deleted with the container, and no other container sees it"
  }
  if (type === "tmpfs" || type === "ramfs") return "in memory: it is empty after a reboot, which does not harm locks"
  return undefined
}

type Tested = KernelLockUnsupported | KernelLockFailed | SelfTest.Verdict

/**
 * Creates a temporary file, tries to lock it through two descriptors, and removes it. A file system that enforces locks refuses
 * the second lock.
 */
const selfTest = (folder: string) =>
  Effect.scoped(Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const lock = yield* KernelLock
    const number = yield* Random.nextIntBetween(0, 2 ** 32)
    const path = NodePath.join(folder, `.gateway-doctor.${number.toString(16).padStart(8, "0")}.tmp`)
    yield* Effect.acquireRelease(
      Effect.scoped(fs.open(path, { flag: "wx", mode: 0o600 })),
      () => Effect.ignore(fs.remove(path))
    )
    const open = fs.open(path, { flag: "r+" })
    const first = yield* open
    return yield* SelfTest.run(lock, { lockFirst: lock.tryLock(first.fd), openSecond: open })
  })).pipe(
    Effect.catchTags({
      KernelLockUnsupported: (error) => Effect.succeed<Tested>(error),
      KernelLockFailed: (error) => Effect.succeed<Tested>(error)
    })
  )

const described = (folder: string, type: Option.Option<string>): string =>
  `${folder}${Option.match(type, { onNone: () => "", onSome: (type) => ` (${type})` })}`

/**
 * The findings that follow from a self-test of the file system's locks. Pure.
 *
 * @since 0.1.0
 * @category decisions
 */
export const judgeLocks = (
  tested: Tested,
  folder: string,
  type: Option.Option<string>,
  elsewhere: string
): ReadonlyArray<Finding> => {
  const where = described(folder, type)
  const recordOnly = "only the owner's record enforces a lock"
  const hint = Option.getOrUndefined(Option.flatMapNullable(type, hintFor))
  if (tested === "works") {
    return [
      ok("filesystem-locks", `a second lock of one file is refused in ${where}`),
      ...(hint === undefined ? [] : [info("filesystem-locks", `${where} is ${hint}`)])
    ]
  }
  const because = hint === undefined ? "" : `; it is ${hint}`
  if (tested === "grants everything") {
    return [warning("filesystem-locks", `${where} grants one lock twice, so ${recordOnly}${because}`, elsewhere)]
  }
  if (tested === "refuses the first") {
    return [warning("filesystem-locks", `${where} refuses a lock that no process holds${because}`, elsewhere)]
  }
  if (tested._tag === "KernelLockUnsupported" && tested.where === "addon") {
    return [
      warning(
        "filesystem-locks",
        `no kernel locks: ${tested.reason}; ${recordOnly}`,
        "npm install fs-native-extensions"
      )
    ]
  }
  return [
    warning(
      "filesystem-locks",
      `${where} does not support locks (${tested.reason}), so ${recordOnly}${because}`,
      elsewhere
    )
  ]
}

/**
 * Tests whether the file system of the lock folder enforces a lock. If that folder does not exist, the nearest existing folder
 * above it is tested. The test creates a temporary file there and removes it.
 *
 * @since 0.1.0
 * @category checks
 */
export const checkLocks = (
  options: FolderOptions
): Effect.Effect<ReadonlyArray<Finding>, never, FileSystem.FileSystem | KernelLock> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = lockFolder(options)
    const there = (yield* Effect.isSuccess(fs.stat(folder))) ? folder : yield* existingAbove(folder)
    const type = yield* fs.readFileString("/proc/self/mountinfo").pipe(
      Effect.map((text) => filesystemType(text, there)),
      Effect.orElseSucceed(() => Option.none<string>())
    )
    const supported = yield* Effect.either(Effect.flatMap(KernelLock, (lock) => lock.supported))
    if (supported._tag === "Left") return judgeLocks(supported.left, there, type, options.elsewhere)
    return yield* selfTest(there).pipe(
      Effect.map((tested) => judgeLocks(tested, there, type, options.elsewhere)),
      Effect.catchAll((cause) =>
        Effect.succeed([
          info(
            "filesystem-locks",
            `locks were not tested in ${described(there, type)}: ${describePlatformError(cause)}`
          )
        ])
      )
    )
  })
