/**
 * Errors that pass by themselves: on Windows, a file that a virus scanner, an indexer or a backup has open, or whose removal
 * is pending until its last handle is closed, cannot be opened, removed or renamed for a moment.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { errnoOf } from "../internal/errno.ts"
import { HostPlatform } from "./HostPlatform.ts"

/**
 * `ERROR_SHARING_VIOLATION` and `ERROR_LOCK_VIOLATION` are `EBUSY`, `ERROR_ACCESS_DENIED` is `EPERM` (libuv,
 * `uv_translate_sys_error` in `src/win/error.c`), which is also what a pending removal answers.
 */
const codes = new Set(["EBUSY", "EPERM", "EACCES"])

/** Whether an error may pass by itself. Elsewhere than on Windows, a missing permission stays missing. */
export const isMomentary = (platform: string, error: PlatformError): boolean =>
  platform === "win32" && error._tag === "SystemError"
  && codes.has(errnoOf(error))

/** The same of an error that was caused by one. */
export const isMomentaryCause = (platform: string, { cause }: { readonly cause?: unknown }): boolean =>
  isPlatformError(cause) && isMomentary(platform, cause)

const isPlatformError = (cause: unknown): cause is PlatformError =>
  cause instanceof Error && "_tag" in cause && cause._tag === "SystemError"

/** 1, 2, 4, … 128 milliseconds apart: a quarter of a second. */
const schedule = Schedule.exponential("1 millis").pipe(Schedule.intersect(Schedule.recurs(8)))

/** The file system, which asks again where it is refused for a moment. */
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
