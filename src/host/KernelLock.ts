/**
 * Locks an open file with a lock that the kernel releases when the process ends.
 *
 * Linux uses an open-file-description lock (fcntl_locking(2), `F_OFD_SETLK`), macOS `flock(2)` on the whole file, and
 * Windows `LockFileEx`. Kernel locks do not work everywhere. The addon that makes these calls, `fs-native-extensions`, has
 * no build for musl. Some file systems refuse locks (`ENOLCK`, `ENOTSUP`). Other file systems grant every request, so that
 * several processes hold the same lock.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { createRequire } from "node:module"
import * as NodePath from "node:path"
import { fileURLToPath } from "node:url"
import { codeOf } from "../internal/errno.ts"
import { memoized } from "../internal/memoized.ts"
import { HostPlatform } from "./HostPlatform.ts"

/**
 * Kernel locks are not available in this process (`addon`) or on this file system (`filesystem`).
 * `LockFile` handles this error: the owner record, which is the content of the lock file, then enforces the lock alone.
 *
 * @since 0.1.0
 * @category errors
 */
export class KernelLockUnsupported extends Data.TaggedError("KernelLockUnsupported")<{
  readonly where: "addon" | "filesystem"
  readonly reason: string
}> {
  override get message() {
    return this.reason
  }
}

/**
 * The lock call failed for a reason that says nothing about who holds the lock (`EIO`, `EBADF`, …).
 *
 * @since 0.1.0
 * @category errors
 */
export class KernelLockFailed extends Data.TaggedError("KernelLockFailed")<{
  readonly reason: string
  readonly cause?: unknown
}> {
  override get message() {
    return this.reason
  }
}

/**
 * Locks open files. The kernel releases each lock when its process ends.
 *
 * A call fails with `KernelLockUnsupported` if kernel locks are not available, and with `KernelLockFailed` if the lock
 * call itself failed. A lock that another process holds is not a failure.
 *
 * @since 0.1.0
 * @category tags
 */
export class KernelLock extends Context.Tag("gateway-lock/KernelLock")<KernelLock, {
  /** Fails if this process cannot lock any file. A caller can run this check before it opens a file. */
  readonly supported: Effect.Effect<void, KernelLockUnsupported>
  /**
   * Tries once, without waiting, to lock an open file for writing. Returns `true` if the lock is granted, and `false` if
   * another open file holds the lock. The lock is released when the file is closed, also by the end of the process.
   *
   * Call `tryLock` once for each open file. On Windows exclusive locks never overlap, not even two locks of one open file. So
   * a second call for the same open file is refused.
   */
  readonly tryLock: (
    fd: FileSystem.File.Descriptor
  ) => Effect.Effect<boolean, KernelLockUnsupported | KernelLockFailed>
  /**
   * Whether another open file holds the lock. The caller does not acquire the lock, and needs only a descriptor that is open
   * for reading.
   *
   * If the lock is free, this call holds a shared lock for a moment. Other calls of `isLocked` do not notice that shared lock,
   * but `tryLock` is denied. A starting gateway whose `tryLock` is denied in that moment calls `isLocked` itself, finds the
   * lock free, and tries again.
   */
  readonly isLocked: (
    fd: FileSystem.File.Descriptor
  ) => Effect.Effect<boolean, KernelLockUnsupported | KernelLockFailed>
}>() {}

interface Range {
  readonly offset: number
  readonly length: number
}

/**
 * The range that is locked: one byte far beyond the end of the record that a lock file contains. On Windows a lock also blocks
 * reads of the locked range, so a lock on the record itself would keep other processes from reading the record. The offset
 * is below 2^53, so a JavaScript number holds it exactly.
 */
const farByte: Range = { offset: 0x4000_0000_0000, length: 1 }

/**
 * flock(2) locks whole files. On macOS the addon answers `EINVAL` for any other range (fs-native-extensions,
 * `src/apple.c`).
 */
const wholeFile: Range = { offset: 0, length: 0 }

const rangeOn = (platform: string): Range => platform === "darwin" ? wholeFile : farByte

const unsupported = new Set(["ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL"])
const denied = new Set(["EAGAIN", "EWOULDBLOCK", "EBUSY"])

/** The binding of `fs-native-extensions`. It throws an error with a `code` if the lock is not granted. */
interface Addon {
  readonly tryLock: (fd: number, offset: number, length: number, exclusive: boolean) => unknown
  readonly unlock: (fd: number, offset: number, length: number) => unknown
}

/**
 * The calls of `fs-native-extensions` as effects. Each fails with the error that the binding throws. The calls are effects, so
 * that the simulated kernel of the tests can run other fibers between two calls.
 *
 * @internal
 */
export interface AddonCalls {
  readonly tryLock: (fd: number, offset: number, length: number, exclusive: boolean) => Effect.Effect<void, unknown>
  readonly unlock: (fd: number, offset: number, length: number) => Effect.Effect<void, unknown>
}

const describe = (cause: unknown): string => {
  const text = cause instanceof Error ? cause.message : String(cause)
  const code = codeOf(cause)
  return (code === "" || text.includes(code) ? text : `${code}: ${text}`).split("\n", 1)[0] ?? code
}

/**
 * Makes the `KernelLock` service from the calls of an addon, and sorts their error codes into denied, unsupported and failed.
 *
 * @internal
 */
export const fromCalls = (addon: AddonCalls, platform: string): KernelLock["Type"] => {
  const { length, offset } = rangeOn(platform)
  /** `true` if the call succeeds, `false` if another open file holds the lock. */
  const ask = (call: Effect.Effect<void, unknown>): Effect.Effect<boolean, KernelLockUnsupported | KernelLockFailed> =>
    Effect.matchEffect(call, {
      onSuccess: () => Effect.succeed(true),
      onFailure: (cause) => {
        const code = codeOf(cause)
        if (denied.has(code)) return Effect.succeed(false)
        // A signal interrupted the call before the kernel granted or denied the lock.
        if (code === "EINTR") return ask(call)
        return unsupported.has(code)
          ? new KernelLockUnsupported({ where: "filesystem", reason: describe(cause) })
          : new KernelLockFailed({ reason: describe(cause), cause })
      }
    })
  return KernelLock.of({
    supported: Effect.void,
    tryLock: (fd) => ask(addon.tryLock(fd, offset, length, true)),
    isLocked: (fd) =>
      Effect.map(
        // This lock is shared, because a shared lock needs no permission to write to the file.
        ask(Effect.zipRight(addon.tryLock(fd, offset, length, false), addon.unlock(fd, offset, length))),
        (granted) => !granted
      )
  })
}

/**
 * Makes the `KernelLock` service from the binding of an addon, for adapters and tests.
 *
 * `platform` is a value of `process.platform`. It decides which range of a file is locked: the whole file on macOS, and
 * one byte far beyond the record elsewhere.
 *
 * @internal
 */
export const fromAddon = (addon: Addon, platform: string = process.platform): KernelLock["Type"] => {
  const call = (run: () => unknown): Effect.Effect<void, unknown> =>
    Effect.suspend(() => {
      try {
        run()
        return Effect.void
      } catch (cause) {
        return Effect.fail(cause)
      }
    })
  return fromCalls({
    tryLock: (fd, offset, length, exclusive) => call(() => addon.tryLock(fd, offset, length, exclusive)),
    unlock: (fd, offset, length) => call(() => addon.unlock(fd, offset, length))
  }, platform)
}

/**
 * Turns kernel locks off, so that the owner record alone enforces each lock. Every call fails with
 * `KernelLockUnsupported` and the given reason.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAbsent = (reason: string): Layer.Layer<KernelLock> =>
  Layer.sync(KernelLock, () => {
    const why = new KernelLockUnsupported({ where: "addon", reason })
    return KernelLock.of({ supported: why, tryLock: () => Effect.fail(why), isLocked: () => Effect.fail(why) })
  })

const isAddon = (value: unknown): value is Addon =>
  typeof value === "object" && value !== null && "tryLock" in value && typeof value.tryLock === "function"
  && "unlock" in value && typeof value.unlock === "function"

/**
 * The file that contains this code, from which the addon is resolved. A bundler that emits CommonJS leaves `import.meta`
 * empty, but Node gives such a file `__filename`. If neither is available, the program's main file is the closest substitute.
 */
const ownFile = (): string => {
  const url: unknown = import.meta.url
  if (typeof url === "string" && url.startsWith("file:")) return fileURLToPath(url)
  if (typeof url === "string" && NodePath.isAbsolute(url)) return url
  const file: unknown = typeof __filename === "string" ? __filename : process.argv[1]
  return typeof file === "string" && NodePath.isAbsolute(file) ? file : process.execPath
}

/** Advice for the error message if the addon is not installed. */
const howToInstall = (cause: unknown): string =>
  codeOf(cause) === "MODULE_NOT_FOUND" ? "; install fs-native-extensions there (a bundle cannot contain it)" : ""

/**
 * Loads the addon's binary directly from its usual place. The package's own loader searches some forty places, which takes
 * longer than the rest of acquiring a lock. That loader is the fallback if the binary is not in its usual place.
 */
const loadAddon = (): Addon => {
  const require = createRequire(ownFile())
  const folder = NodePath.dirname(require.resolve("fs-native-extensions/package.json"))
  const binary = NodePath.join(folder, "prebuilds", `${process.platform}-${process.arch}`, "fs-native-extensions.node")
  let addon: unknown
  try {
    addon = require(binary)
  } catch {
    addon = require("fs-native-extensions/binding.js")
  }
  if (!isAddon(addon)) throw new Error("it does not export tryLock and unlock")
  return addon
}

/**
 * Uses the operating system's locks, through the optional dependency `fs-native-extensions`. Without this addon, or without a
 * build of the addon for this machine, this layer behaves like `layerAbsent`.
 *
 * The addon is loaded on first use. So a start that fails before it needs the lock, for example because the port is in use,
 * does not load the addon.
 *
 * @example
 * import { FileSystem } from "@effect/platform"
 * import { NodeContext } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import { Host } from "gateway-lock"
 *
 * // A kernel lock on a file of your own. Closing the scope closes the file, which releases the lock. So does the end of
 * // the process.
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   const { tryLock } = yield* Host.KernelLock.KernelLock
 *   const file = yield* fs.open("/var/lib/importer/journal", { flag: "a+" })
 *   if (yield* tryLock(file.fd)) yield* Effect.log("the journal is ours")
 * })).pipe(Effect.provide(Host.KernelLock.layerLive), Effect.provide(NodeContext.layer))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<KernelLock> = Layer.effect(
  KernelLock,
  Effect.map(
    Effect.flatMap(HostPlatform, (platform) =>
      memoized(Effect.try({
        try: () => fromAddon(loadAddon(), platform),
        catch: (cause) =>
          new KernelLockUnsupported({
            where: "addon",
            reason: `cannot load fs-native-extensions from ${NodePath.dirname(ownFile())}: ${describe(cause)}${
              howToInstall(cause)
            }`
          })
      }))),
    (loaded) =>
      KernelLock.of({
        supported: Effect.asVoid(loaded),
        tryLock: (fd) => Effect.flatMap(loaded, (lock) => lock.tryLock(fd)),
        isLocked: (fd) => Effect.flatMap(loaded, (lock) => lock.isLocked(fd))
      })
  )
)
