/**
 * Workaround for Effect-TS/effect#8271. Without the workaround, an interruption that arrives during a finalizer is lost.
 */
import type * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { identity } from "effect/Function"

/**
 * Gives this fiber, and the fibers forked from it, a value for the fiber reference `interruptedCause`. Run this effect before the
 * fiber acquires its first resource.
 *
 * Effect (3.22.4, Effect-TS/effect#8271) sets `interruptedCause` before a finalizer. After the finalizer Effect undoes the
 * difference between the fiber references at acquisition and those at release. If the fiber had no `interruptedCause` at
 * acquisition, Effect also undoes an interruption that arrived during the finalizer. The fiber then continues, so a gateway that
 * should stop does not stop.
 */
export const keepInterruption: Effect.Effect<void> = FiberRef.update(FiberRef.interruptedCause, identity)
