/**
 * Makes the `PlatformError` of a file operation from the error of `node:fs`, with the same reasons as
 * `@effect/platform-node` (0.108.2; `handleErrnoException` in internal/error.ts of @effect/platform-node-shared).
 */
import { BadArgument, type PlatformError, SystemError, type SystemErrorReason } from "@effect/platform/Error"

const reasons: Readonly<Record<string, SystemErrorReason>> = {
  ENOENT: "NotFound",
  EACCES: "PermissionDenied",
  EEXIST: "AlreadyExists",
  EISDIR: "BadResource",
  ENOTDIR: "BadResource",
  EBUSY: "Busy",
  ELOOP: "BadResource"
}

const isErrno = (cause: unknown): cause is NodeJS.ErrnoException => cause instanceof Error && "errno" in cause

/**
 * A blocking call of Node names no errno that libuv does not know (`UVException` in src/api/exceptions.cc), but has its number. A
 * call in the thread pool puts the number into the text, and `nameErrno` replaces it by the name.
 */
const descriptionOf = ({ errno, message }: NodeJS.ErrnoException): string =>
  message.replace(/^UNKNOWN: unknown error/, () => `Unknown system error ${errno}: Unknown system error ${errno}`)

/** An error without an errno, such as that of a path with a zero byte, is a `BadArgument`. */
export const platformError = (method: string, pathOrDescriptor: string | number, cause: unknown): PlatformError =>
  isErrno(cause)
    ? new SystemError({
      module: "FileSystem",
      method,
      reason: reasons[cause.code ?? ""] ?? "Unknown",
      pathOrDescriptor,
      ...(cause.syscall === undefined ? {} : { syscall: cause.syscall }),
      description: descriptionOf(cause),
      cause
      // Without the validation of the fields, which takes longer than most of the calls that can fail.
    }, true)
    : new BadArgument({ module: "FileSystem", method, cause })
