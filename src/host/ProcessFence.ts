/**
 * Kills this process at a moment at which a leader must have stopped, even if its event loop is blocked then.
 *
 * @internal
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** The fence cannot be made, for example because this process may not start another thread. */
export class FenceFailed
  extends Data.TaggedError("FenceFailed")<{ readonly reason: string; readonly cause?: unknown }>
{
  override get message() {
    return this.reason
  }
}

export interface Fence {
  /** Kills the process at a moment of `ElapsedTime`, unless another call moves that moment before. */
  readonly killAt: (moment: bigint) => Effect.Effect<void>
  /** Kills the process no longer: its work has ended. */
  readonly disarm: Effect.Effect<void>
}

/** Makes a fence, which is disarmed when the scope closes. Default: a fence that kills nothing. */
export class ProcessFence extends Context.Reference<ProcessFence>()("gateway-lock/ProcessFence", {
  defaultValue: (): { readonly make: Effect.Effect<Fence, FenceFailed, Scope.Scope> } => ({
    make: Effect.succeed({ killAt: () => Effect.void, disarm: Effect.void })
  })
}) {}
