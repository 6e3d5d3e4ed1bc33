/**
 * Tests whether a file system enforces kernel locks. The test locks a file through one descriptor. A second descriptor
 * of the same file must then be refused the lock. A start and `gateway doctor` both use this test.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { KernelLock, KernelLockFailed, KernelLockUnsupported } from "../host/KernelLock.ts"

/**
 * The result of a self-test.
 *
 * - `works`: the second lock is refused.
 * - `grants everything`: both locks are granted, so the file system does not enforce locks. This was seen on overlay and
 *   proxy file systems, and under strace.
 * - `refuses the first`: a lock that no process holds is refused.
 */
export type Verdict = "works" | "grants everything" | "refuses the first"

/**
 * The file to test. Each descriptor is locked only once, because Windows refuses a second lock even to the descriptor that
 * holds the first.
 */
export interface Subject<E, E2> {
  /** Locks the first descriptor, unless it is locked already. The result is whether the descriptor is locked now. */
  readonly lockFirst: Effect.Effect<boolean, E>
  /** Opens the same file a second time. */
  readonly openSecond: Effect.Effect<FileSystem.File, E2, Scope.Scope>
}

/** Tests whether a kernel lock on the file excludes a second descriptor. Closes the second descriptor before it returns. */
export const run = <E, E2>(
  kernel: KernelLock["Type"],
  { lockFirst, openSecond }: Subject<E, E2>
): Effect.Effect<Verdict, E | E2 | KernelLockUnsupported | KernelLockFailed> =>
  Effect.scoped(Effect.gen(function*() {
    if (!(yield* lockFirst)) return "refuses the first"
    const second = yield* openSecond
    return (yield* kernel.tryLock(second.fd)) ? "grants everything" : "works"
  }))
