/**
 * Is an interruption kept that comes while a finalizer runs?
 */
import type * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { identity } from "effect/Function"

/**
 * To run before the first resource is acquired. Afterwards every resource of this fiber, and of those forked from it, has
 * been acquired with an `interruptedCause`.
 *
 * Effect (3.22.4, Effect-TS/effect#8271) sets that reference before a finalizer, and after it undoes what differs between
 * acquiring and releasing. Where a resource was acquired on a fiber that had no such reference yet, what is undone is an
 * interruption that came meanwhile: the fiber goes on, and a gateway that was told to stop serves for ever.
 */
export const keepInterruption: Effect.Effect<void> = FiberRef.update(FiberRef.interruptedCause, identity)
