import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

/**
 * Keeps what `self` acquired until the caller's scope closes if it succeeds with a value that is to be kept. Else releases it
 * at once, before this ends.
 */
export const keepIf = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  isKept: (value: A) => boolean = () => true
): Effect.Effect<A, E, R | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const outer = yield* Effect.scope
      const inner = yield* Scope.fork(outer, ExecutionStrategy.sequential)
      const exit = yield* Effect.exit(restore(Scope.extend(self, inner)))
      if (Exit.isFailure(exit) || !isKept(exit.value)) yield* Scope.close(inner, exit)
      return yield* exit
    })
  )
