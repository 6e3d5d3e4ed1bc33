/**
 * Retries file operations that Windows refuses only for a moment.
 *
 * Windows refuses to open, remove or rename a file while a virus scanner, an indexer or a backup has the file open. Windows
 * also refuses while a removal of the file is pending. A removal is pending until the last handle of the file is closed.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { errnoOf } from "../internal/errno.ts"
import { HostPlatform } from "./HostPlatform.ts"

/**
 * The error codes of operations that Windows refuses for only a moment. libuv maps `ERROR_SHARING_VIOLATION` and
 * `ERROR_LOCK_VIOLATION` to `EBUSY`, and `ERROR_ACCESS_DENIED` to `EPERM` (`uv_translate_sys_error` in `src/win/error.c`). A
 * pending removal also gives `EPERM`.
 */
const codes = new Set(["EBUSY", "EPERM", "EACCES"])

/**
 * Whether a retry may succeed after this error. Always `false` on other platforms than Windows. On those platforms the same codes
 * mean a missing permission, which a retry does not change.
 */
export const isMomentary = (platform: string, error: PlatformError): boolean =>
  platform === "win32" && error._tag === "SystemError"
  && codes.has(errnoOf(error))

/** Whether the cause of an error is momentary, as `isMomentary` decides it. */
export const isMomentaryCause = (platform: string, { cause }: { readonly cause?: unknown }): boolean =>
  isPlatformError(cause) && isMomentary(platform, cause)

const isPlatformError = (cause: unknown): cause is PlatformError =>
  cause instanceof Error && "_tag" in cause && cause._tag === "SystemError"

/** Eight retries after 1, 2, 4, … 128 milliseconds, about a quarter of a second in total. */
const schedule = Schedule.exponential("1 millis").pipe(Schedule.intersect(Schedule.recurs(8)))

/** The `FileSystem` service. On Windows it retries operations that are refused for a moment. */
export const patientFiles: Effect.Effect<FileSystem.FileSystem, never, FileSystem.FileSystem> = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const platform = yield* HostPlatform
  if (platform !== "win32") return fs
  const again = <A, R>(self: Effect.Effect<A, PlatformError, R>): Effect.Effect<A, PlatformError, R> =>
    Effect.retry(self, { schedule, while: (error) => isMomentary(platform, error) })
  return {
    ...fs,
    open: (path, options) => again(fs.open(path, options)),
    stat: (path) => again(fs.stat(path)),
    rename: (from, to) => again(fs.rename(from, to)),
    remove: (path, options) => again(fs.remove(path, options)),
    link: (from, to) => again(fs.link(from, to)),
    makeDirectory: (path, options) => again(fs.makeDirectory(path, options))
  }
})
