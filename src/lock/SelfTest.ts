/**
 * Does a file system keep a kernel lock? A start and `doctor` judge it by the same test: a second open file of one name must
 * be refused the lock that the first one has.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { KernelLock, KernelLockFailed, KernelLockUnsupported } from "../host/KernelLock.ts"

/**
 * - `works`: the second is refused.
 * - `grants everything`: both are granted, so that there are no locks (seen with overlays, proxies and strace).
 * - `refuses the first`: a lock is refused that nobody has.
 */
export type Verdict = "works" | "grants everything" | "refuses the first"

/** What is tested. A descriptor is asked once: on Windows its holder is refused a second lock. */
export interface Subject<E, E2> {
  /** Locks the first open file, or says that it was locked before. */
  readonly lockFirst: Effect.Effect<boolean, E>
  /** Opens the same file again. */
  readonly openSecond: Effect.Effect<FileSystem.File, E2, Scope.Scope>
}

/** Tests a file; closes the second open file before this ends. */
export const run = <E, E2>(
  kernel: KernelLock["Type"],
  { lockFirst, openSecond }: Subject<E, E2>
): Effect.Effect<Verdict, E | E2 | KernelLockUnsupported | KernelLockFailed> =>
  Effect.scoped(Effect.gen(function*() {
    if (!(yield* lockFirst)) return "refuses the first"
    const second = yield* openSecond
    return (yield* kernel.tryLock(second.fd)) ? "grants everything" : "works"
  }))
