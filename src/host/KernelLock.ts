/**
 * The capability to lock an open file so that the lock dies with its process.
 *
 * On Linux an open-file-description lock (fcntl_locking(2), `F_OFD_SETLK`), on macOS `flock(2)` of the whole file,
 * on Windows `LockFileEx`. Not every machine has it: the addon has no build for musl, and some
 * file systems refuse (`ENOLCK`, `ENOTSUP`) or, worse, grant everything.
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
 * No kernel lock can be had, for this process (`addon`) or on this file system (`filesystem`).
 * Recovered inside `LockFile` by falling back to the owner record.
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
 * Locks on open files that the kernel takes back when their process ends. What it cannot do fails with
 * `KernelLockUnsupported`, what went wrong with `KernelLockFailed`; that somebody else has a lock is no failure.
 *
 * @since 0.1.0
 * @category tags
 */
export class KernelLock extends Context.Tag("gateway-lock/KernelLock")<KernelLock, {
  /** Fails where this process can lock no file at all, so that none need be opened to find out. */
  readonly supported: Effect.Effect<void, KernelLockUnsupported>
  /**
   * Tries once, without waiting, to lock an open file for writing: `true` if granted, `false` if
   * another open file holds it. The lock ends when the file is closed, by whatever means. Ask once for each open file: on
   * Windows, where an exclusive lock overlaps no other, its holder is refused a second one.
   */
  readonly tryLock: (
    fd: FileSystem.File.Descriptor
  ) => Effect.Effect<boolean, KernelLockUnsupported | KernelLockFailed>
  /**
   * Whether another open file holds the lock, for who only wants to know: a descriptor that is open for reading is enough.
   * A lock that nobody holds is held, shared, for the moment of the question: others that ask do not notice, and a start that
   * is denied then asks in its turn, and tries again.
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
 * One byte. Far beyond any record, so that readers on Windows, where locks are mandatory, are not kept from the record;
 * below 2^53, so that it survives the way through a JavaScript number.
 */
const farByte: Range = { offset: 0x4000_0000_0000, length: 1 }

/** flock(2) knows no ranges: the addon answers `EINVAL` for any other there (fs-native-extensions, `src/apple.c`). */
const wholeFile: Range = { offset: 0, length: 0 }

const rangeOn = (platform: string): Range => platform === "darwin" ? wholeFile : farByte

const unsupported = new Set(["ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL"])
const denied = new Set(["EAGAIN", "EWOULDBLOCK", "EBUSY"])

/** The binding of `fs-native-extensions`: throws an error with `code` where the lock is not granted. */
interface Addon {
  readonly tryLock: (fd: number, offset: number, length: number, exclusive: boolean) => unknown
  readonly unlock: (fd: number, offset: number, length: number) => unknown
}

/**
 * The calls of that binding as effects, for a simulated kernel, where others go on between two calls. They fail with what the
 * binding throws.
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
 * A kernel lock over calls of an addon, with errno told apart.
 *
 * @internal
 */
export const fromCalls = (addon: AddonCalls, platform: string): KernelLock["Type"] => {
  const { length, offset } = rangeOn(platform)
  /** `true` if the call went through, `false` if another open file stands against it. */
  const ask = (call: Effect.Effect<void, unknown>): Effect.Effect<boolean, KernelLockUnsupported | KernelLockFailed> =>
    Effect.matchEffect(call, {
      onSuccess: () => Effect.succeed(true),
      onFailure: (cause) => {
        const code = codeOf(cause)
        if (denied.has(code)) return Effect.succeed(false)
        // A signal arrived: nothing was decided, ask again.
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
        // A shared lock, which needs no permission to write.
        ask(Effect.zipRight(addon.tryLock(fd, offset, length, false), addon.unlock(fd, offset, length))),
        (granted) => !granted
      )
  })
}

/**
 * A kernel lock over an addon's `tryLock`, with errno told apart. For adapters and tests. The platform, as `process.platform`
 * has it, decides which range of a file is locked: one byte far beyond the record, on macOS the whole file.
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
 * No kernel lock: every lock is kept by its record alone. Every question fails with `KernelLockUnsupported`, for that reason.
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
 * The file of this code. A bundler that makes CommonJS of it leaves `import.meta` empty, and Node gives such a file its
 * `__filename`; where there is neither, the program's own file is the nearest.
 */
const ownFile = (): string => {
  const url: unknown = import.meta.url
  if (typeof url === "string" && url.startsWith("file:")) return fileURLToPath(url)
  if (typeof url === "string" && NodePath.isAbsolute(url)) return url
  const file: unknown = typeof __filename === "string" ? __filename : process.argv[1]
  return typeof file === "string" && NodePath.isAbsolute(file) ? file : process.execPath
}

/** What is to be done about an addon that is not there. */
const howToInstall = (cause: unknown): string =>
  codeOf(cause) === "MODULE_NOT_FOUND" ? "; install fs-native-extensions there (a bundle cannot contain it)" : ""

/**
 * The addon's binary is loaded directly: the package's own loader looks for it in some forty places, which takes longer
 * than everything else that a start does for its lock. Where the binary is elsewhere, that loader is asked.
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
  if (!isAddon(addon)) throw new Error("it has no tryLock and unlock")
  return addon
}

/**
 * The operating system's locks, through `fs-native-extensions`. Where that optional dependency is
 * absent or has no build for this machine, the same as `layerAbsent`.
 *
 * Loaded when first asked for: a start that is refused before it comes to the lock does not pay for it.
 *
 * @example
 * import { FileSystem } from "@effect/platform"
 * import { NodeContext } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import { Host } from "gateway-lock"
 *
 * // The lock alone, on a file of one's own. It ends with the scope, which closes the file, or with the process.
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
