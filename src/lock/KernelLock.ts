/**
 * The capability to lock an open file so that the lock dies with its process.
 *
 * On Linux an open-file-description lock (fcntl_locking(2), `F_OFD_SETLK`), on macOS `flock(2)`,
 * on Windows `LockFileEx`. Not every machine has it: the addon has no build for musl, and some
 * file systems refuse (`ENOLCK`, `ENOTSUP`) or, worse, grant everything.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { createRequire } from "node:module"
import * as NodeOs from "node:os"
import * as NodePath from "node:path"

/**
 * No kernel lock can be had, for this process (`addon`) or on this file system (`filesystem`).
 * Recovered inside `LockFile` by falling back to the owner record.
 *
 * @since 0.1.0
 * @category errors
 */
export class KernelLockUnsupported
  extends Schema.TaggedError<KernelLockUnsupported>("gateway-lock/KernelLockUnsupported")("KernelLockUnsupported", {
    where: Schema.Literal("addon", "filesystem"),
    reason: Schema.String
  })
{
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
export class KernelLockFailed
  extends Schema.TaggedError<KernelLockFailed>("gateway-lock/KernelLockFailed")("KernelLockFailed", {
    reason: Schema.String,
    cause: Schema.optionalWith(Schema.Defect, { exact: true })
  })
{
  override get message() {
    return this.reason
  }
}

/**
 * @since 0.1.0
 * @category tags
 */
export class KernelLock extends Context.Tag("gateway-lock/KernelLock")<KernelLock, {
  /** Fails where this process can lock no file at all, so that none need be opened to find out. */
  readonly supported: Effect.Effect<void, KernelLockUnsupported>
  /**
   * Tries once, without waiting, to lock an open file for writing: `true` if granted, `false` if
   * another open file holds it. The lock ends when the file is closed, by whatever means.
   */
  readonly tryLock: (
    fd: FileSystem.File.Descriptor
  ) => Effect.Effect<boolean, KernelLockUnsupported | KernelLockFailed>
}>() {}

/**
 * The locked byte. Far beyond any record, so that readers on Windows, where locks are mandatory,
 * are not kept from the record; below 2^53, so that it survives the way through a JavaScript number.
 */
const lockOffset = 0x4000_0000_0000

const unsupported = new Set(["ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL"])
const denied = new Set(["EAGAIN", "EWOULDBLOCK", "EBUSY"])

/** The binding of `fs-native-extensions`: throws an error with `code` where the lock is not granted. */
interface Addon {
  readonly tryLock: (fd: number, offset: number, length: number, exclusive: boolean) => unknown
}

/** What a file system without locks answers has no name in libuv, which the addon asks for one: it throws the number. */
const nameless = `Unknown system error -${NodeOs.constants.errno.ENOLCK}`

const codeOf = (cause: unknown): string => {
  const code = typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined
  return typeof code !== "string" ? "" : code === nameless ? "ENOLCK" : code
}

const describe = (cause: unknown): string => {
  const text = cause instanceof Error ? cause.message : String(cause)
  const code = codeOf(cause)
  return (code === "" || text.includes(code) ? text : `${code}: ${text}`).split("\n", 1)[0] ?? code
}

/**
 * A kernel lock over an addon's `tryLock`, with errno told apart. For adapters and tests.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromAddon = (addon: Addon): KernelLock["Type"] => {
  const tryLock = (fd: FileSystem.File.Descriptor): Effect.Effect<boolean, KernelLockUnsupported | KernelLockFailed> =>
    Effect.suspend(() => {
      try {
        addon.tryLock(fd, lockOffset, 1, true)
        return Effect.succeed(true)
      } catch (cause) {
        const code = codeOf(cause)
        if (denied.has(code)) return Effect.succeed(false)
        // A signal arrived: nothing was decided, ask again.
        if (code === "EINTR") return tryLock(fd)
        return unsupported.has(code)
          ? new KernelLockUnsupported({ where: "filesystem", reason: describe(cause) })
          : new KernelLockFailed({ reason: describe(cause), cause })
      }
    })
  return KernelLock.of({ supported: Effect.void, tryLock })
}

/**
 * No kernel lock: every lock is kept by its record alone.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAbsent = (reason: string): Layer.Layer<KernelLock> =>
  Layer.sync(KernelLock, () => {
    const why = new KernelLockUnsupported({ where: "addon", reason })
    return KernelLock.of({ supported: why, tryLock: () => Effect.fail(why) })
  })

const isAddon = (value: unknown): value is Addon =>
  typeof value === "object" && value !== null && "tryLock" in value && typeof value.tryLock === "function"

/**
 * The addon's binary is loaded directly: the package's own loader looks for it in some forty places, which takes longer
 * than everything else that a start does for its lock. Where the binary is elsewhere, that loader is asked.
 */
const loadAddon = (): Addon => {
  const require = createRequire(import.meta.url)
  const folder = NodePath.dirname(require.resolve("fs-native-extensions/package.json"))
  const binary = NodePath.join(folder, "prebuilds", `${process.platform}-${process.arch}`, "fs-native-extensions.node")
  let addon: unknown
  try {
    addon = require(binary)
  } catch {
    addon = require("fs-native-extensions/binding.js")
  }
  if (!isAddon(addon)) throw new Error("it has no tryLock")
  return addon
}

/**
 * The operating system's locks, through `fs-native-extensions`. Where that optional dependency is
 * absent or has no build for this machine, the same as `layerAbsent`.
 *
 * Loaded when first asked for: a start that is refused before it comes to the lock does not pay for it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<KernelLock> = Layer.effect(
  KernelLock,
  Effect.map(
    Effect.cached(Effect.try({
      try: () => fromAddon(loadAddon()),
      catch: (cause) =>
        new KernelLockUnsupported({ where: "addon", reason: `cannot load fs-native-extensions: ${describe(cause)}` })
    })),
    (loaded) =>
      KernelLock.of({
        supported: Effect.asVoid(loaded),
        tryLock: (fd) => Effect.flatMap(loaded, (lock) => lock.tryLock(fd))
      })
  )
)
