/**
 * One attempt, without waiting, to take one lock file.
 *
 * With a kernel lock:
 *
 *     open (create, 0600) → try the kernel lock
 *       denied  → by one that only asks?  yes → soon again;  no → read the record → Held
 *       granted → is the path still this file?  no → close, again
 *               → is a second lock refused?     no → this file system cannot lock: record only
 *               → read what was left; claim it, as those without kernel locks do; write my record, sync
 *               → is the path still this file?  no → close, again → Mine
 *     release: if the path is still this file, unlink while holding; then close
 *
 * Unlinking while holding and comparing after locking belong together. Whoever opened the file before
 * it was unlinked gets the lock of a file without a name; the comparison tells it so. Without the one, a
 * newcomer's file could be unlinked; without the other, two could hold locks on two files of one name.
 *
 * Record only: the file is created exclusively; a stale one is renamed aside, by one starter at a time (`Claim`), and
 * looked at again: somebody with a kernel lock may have taken it in between, and what was moved by mistake is put back.
 * A file that names this very instance is a copy of ours, made while we held it, and is taken as it is.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { LockUnavailable } from "../GatewayLockError.ts"
import { KernelLock } from "../host/KernelLock.ts"
import { describePlatformError } from "../internal/describeError.ts"
import { keepIf } from "../internal/keepIf.ts"
import type { Attempt, AttemptOptions } from "./Attempt.ts"
import { withKernelLock } from "./KernelAttempt.ts"
import * as NamedFiles from "./NamedFiles.ts"
import { withRecordOnly } from "./RecordAttempt.ts"

export type { Attempt, AttemptOptions, HeldFile, Leftover } from "./Attempt.ts"
export type { Enforcement, Snapshot } from "./Snapshot.ts"

/** How often one attempt starts over: each time, some other process has taken a step. */
const maxRestarts = 32

/** Whether an attempt acquired the lock. */
export const isMine = ({ _tag }: Attempt): boolean => _tag === "Mine"

const make = Effect.gen(function*() {
  const files = yield* NamedFiles.make
  const kernel = yield* KernelLock
  return (options: AttemptOptions) =>
    Effect.flatMap(kernel.supported, () => keepIf(withKernelLock(files, kernel, options), isMine)).pipe(
      Effect.catchTag("KernelLockUnsupported", (why) => keepIf(withRecordOnly(files, options, why), isMine))
    )
})

/**
 * Tries once. What was opened for an attempt that did not succeed is closed again before it ends; what
 * was acquired is released when the caller's scope closes.
 *
 * Uninterruptible, and short: waiting belongs around it.
 */
export const attempt = (
  options: AttemptOptions
): Effect.Effect<Attempt, LockUnavailable, FileSystem.FileSystem | KernelLock | Scope.Scope> =>
  Effect.uninterruptible(Effect.gen(function*() {
    const once = yield* make
    return yield* once(options).pipe(
      Effect.retry({ while: (error) => error._tag === "Moved", times: maxRestarts }),
      Effect.mapError((error) => {
        switch (error._tag) {
          case "LockUnavailable":
            return error
          case "Moved":
            return new LockUnavailable({
              path: options.path,
              reason: "the file keeps being replaced by other processes"
            })
          case "KernelLockFailed":
            return new LockUnavailable({ path: options.path, reason: error.reason, cause: error })
          default:
            return new LockUnavailable({ path: options.path, reason: describePlatformError(error), cause: error })
        }
      })
    )
  }))
