import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

/**
 * Runs `self`. If `isKept` accepts the value of `self`, its resources stay acquired until the caller's scope closes. Otherwise
 * they are released at once. Also returns the scope of the resources, so that the caller can release them earlier.
 */
export const keepIfScoped = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  isKept: (value: A) => boolean
): Effect.Effect<{ readonly value: A; readonly scope: Scope.CloseableScope }, E, R | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const outer = yield* Effect.scope
      const scope = yield* Scope.fork(outer, ExecutionStrategy.sequential)
      const exit = yield* Effect.exit(restore(Scope.extend(self, scope)))
      if (Exit.isFailure(exit) || !isKept(exit.value)) yield* Scope.close(scope, exit)
      return { value: yield* exit, scope }
    })
  )

/**
 * Runs `self`. If `self` succeeds with a value that `isKept` accepts, the resources of `self` are kept until the caller's scope
 * closes. Otherwise the resources are released before this effect ends.
 */
export const keepIf = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  isKept: (value: A) => boolean = () => true
): Effect.Effect<A, E, R | Scope.Scope> => Effect.map(keepIfScoped(self, isKept), ({ value }) => value)
