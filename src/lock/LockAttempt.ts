/**
 * One attempt to acquire one lock file. The attempt does not wait for the lock.
 *
 * A start is a process that tries to acquire the lock. With a kernel lock, its attempt runs these steps:
 *
 *     open (create, 0600) → try the kernel lock
 *       denied  → is the lock shared?           yes → `status` only tests the lock: retry soon;  no → read the record → Held
 *       granted, for a file that this attempt has opened
 *               → is the path still this file?  no → close, start over
 *               → is a second lock refused?     no → this file system cannot lock: record-only
 *               → read the record that a dead owner left; claim the file, so that no start without kernel locks moves it
 *                 (`Claim`)
 *       granted → write this start's record
 *               → is the path still this file?  no → close, start over;  yes → Mine
 *     release: if the path is still this file, unlink it while holding the lock; then close
 *
 * The file is unlinked while the lock is held. If the unlink came after the end of the lock, a release could remove
 * another start's new file. The path is compared after locking, because a start that opened the file before the unlink
 * gets the lock of a file without a name. Without the comparison, another start could then lock a new file at the path,
 * and both would take themselves for the holder.
 *
 * Record-only means that no kernel lock is available. The attempt then creates the file exclusively. A stale file is
 * one that a dead owner left. A start that wants to replace it first creates a claim, a second file that only one start
 * can create (`Claim`). The holder of the claim renames the stale file, and then checks it again, because a start with
 * a kernel lock may have taken the file in between. A file that was renamed by mistake is put back.
 *
 * If the record in the file names this instance, the file is a copy. Another program made it while this instance held
 * the lock. The attempt takes that copy as its lock file.
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

/** How many times one attempt may start over. It starts over if another process has replaced or removed the file. */
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
 * The attempt cannot be interrupted. It is short, because it never waits for the lock. The caller waits between
 * attempts.
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
