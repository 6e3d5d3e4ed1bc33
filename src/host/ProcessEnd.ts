/**
 * Ends the process of a gateway that has lost its lock and must not continue.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import { end as endProcess } from "./endProcess.ts"

/**
 * The options of `ProcessEnd.end`, which decide when the process ends.
 *
 * @since 0.1.0
 * @category models
 */
export interface EndOptions {
  /**
   * Whether code in this process waits for the loss of the lock, as `Gateway.launch` does. Such code can report the loss and then
   * end the process itself. If there is such code, `end` gives it time: `end` acts only 5 seconds after `drained` has completed.
   */
  readonly isWatched: boolean
  /** Completes when the listener and all of its connections are closed. */
  readonly drained: Effect.Effect<void>
  /** The process ends after this time at the latest, even if `drained` has not completed. */
  readonly within: Duration.Duration
}

/**
 * Ends the process with an exit status other than 0. `end` returns at once, and never fails.
 *
 * If `isWatched` is `false` and the process has a listener for SIGTERM, `end` calls that listener at once. The listener can shut
 * the program down. Without such a listener, the process exits with status 1 when `drained` completes.
 *
 * If `isWatched` is `true`, the listener is called, or the process exits, 5 seconds after `drained` has completed.
 *
 * The default implementation ends this process. In a worker thread it ends only that thread. Provide another implementation in
 * tests.
 *
 * @example
 * import { Effect, Layer } from "effect"
 * import { Gateway, Host } from "gateway-lock"
 *
 * // In a test, the process that runs the tests must not end.
 * const Kept = Layer.succeed(Host.ProcessEnd.ProcessEnd, { end: () => Effect.void })
 * const Main = Gateway.layer({ port: 0 }).pipe(Layer.provide(Kept))
 *
 * @since 0.1.0
 * @category references
 */
export class ProcessEnd extends Context.Reference<ProcessEnd>()("gateway-lock/ProcessEnd", {
  defaultValue: (): { readonly end: (options: EndOptions) => Effect.Effect<void> } => ({ end: endProcess })
}) {}
