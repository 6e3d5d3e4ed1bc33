/**
 * Finalizers that take little time.
 *
 * `Effect.addFinalizer` and `Effect.acquireRelease` (Effect 3.22.4; internal/fiberRuntime.ts) run a finalizer with the fiber
 * references of the fiber that acquired the resource. For each finalizer, they compute the difference to the references of the
 * closing fiber, in both directions, and compare each service of the context for it. A start of `gateway exec` had twenty such
 * finalizers, which took a fifth of what it needed beyond a refused start.
 *
 * The finalizers here run with the fiber references of the fiber that closes the scope. One of these references is the set of
 * loggers. So a finalizer that logs needs a scope that is closed by this library itself, not by the user's program.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

/** Runs an effect when the scope closes. The effect cannot be interrupted. */
export const onClose = (finalizer: Effect.Effect<unknown>): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Effect.scope, (scope) => Scope.addFinalizer(scope, Effect.uninterruptible(finalizer)))

/** Acquires a resource, and releases it when the scope closes. Neither can be interrupted. */
export const acquire = <A, E, R>(
  acquire: Effect.Effect<A, E, R>,
  release: (resource: A, exit: Exit.Exit<unknown, unknown>) => Effect.Effect<unknown>
): Effect.Effect<A, E, R | Scope.Scope> =>
  Effect.uninterruptible(
    Effect.flatMap(Effect.scope, (scope) =>
      Effect.tap(
        acquire,
        (resource) => Scope.addFinalizerExit(scope, (exit) => Effect.uninterruptible(release(resource, exit)))
      ))
  )
