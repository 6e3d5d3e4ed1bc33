/**
 * One attempt, without waiting, to acquire one lock file.
 *
 * With a kernel lock:
 *
 *     open (create, 0600) → try the kernel lock
 *       denied  → is the lock shared?           yes → an inspector tests it: retry soon;  no → read the record → Held
 *       granted → is the path still this file?  no → close, start over
 *               → is a second lock refused?     no → this file system cannot lock: record-only
 *               → read the left record; claim it, as starts without kernel locks do; write this start's record, sync
 *               → is the path still this file?  no → close, start over;  yes → Mine
 *     release: if the path is still this file, unlink it while holding the lock; then close
 *
 * The file is unlinked while the lock is held, and the path is compared after locking. The two depend on each other. A
 * start that opened the file before the unlink gets the lock of a file without a name, and the comparison detects that.
 * If the unlink came after the end of the lock, a release could remove another start's new file. Without the
 * comparison, two processes could hold locks on two files of one name.
 *
 * Record-only means that no kernel lock is available. The file is created exclusively. A stale file is renamed aside by
 * one start at a time (`Claim`) and then checked again, because a start with a kernel lock may have taken the file in
 * between. A file that was moved by mistake is put back. A file that names this very instance is a copy of the held
 * file, made while the lock was held. The attempt takes that copy as it is.
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

/** How often one attempt may start over. It starts over when another process has changed the path. */
const maxRestarts = 32

/** Whether an attempt acquired the lock. */
export const isMine = ({ _tag }: Attempt): boolean => _tag === "Mine"

const make = Effect.gen(function*() {
  const files = yield* NamedFiles.make
  const kernel = yield* KernelLock
  return (options: AttemptOptions) =>
    Effect.flatMap(kernel.supported, () => keepIf(withKernelLock(files, kernel, options), isMine)).pipe(
      Effect.catchTag(
        "KernelLockUnsupported",
        (unsupported) => keepIf(withRecordOnly(files, options, unsupported), isMine)
      )
    )
})

/**
 * Tries once to acquire a lock file. If the attempt does not acquire the lock, the files it opened are closed before it
 * ends. If the attempt acquires the lock, the lock is released when the caller's scope closes.
 *
 * Uninterruptible. An attempt is short, because it never waits for the lock. The caller waits between attempts.
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
              reason: "other processes keep replacing the file"
            })
          case "KernelLockFailed":
            return new LockUnavailable({ path: options.path, reason: error.reason, cause: error })
          default:
            return new LockUnavailable({ path: options.path, reason: describePlatformError(error), cause: error })
        }
      })
    )
  }))
