/**
 * How a process ends that must not go on: what a gateway does after it has lost its lock.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import { end as endProcess } from "./endProcess.ts"

/**
 * When the process is to end.
 *
 * @since 0.1.0
 * @category models
 */
export interface EndOptions {
  /**
   * Whether something in the process waits for the lost lock, as `Gateway.launch` does. Then the program can end by itself, and
   * say why: it is left alone until 5 seconds after `drained`.
   */
  readonly isWatched: boolean
  /** Completes when the listener is closed and its connections are gone. */
  readonly drained: Effect.Effect<void>
  /** The process ends after this time, whatever else happens. */
  readonly within: Duration.Duration
}

/**
 * Ends the process with an exit status other than 0. A process that listens for SIGTERM gets it at once, and can end in order;
 * a process without such a listener exits with status 1 once `drained` completes. Returns at once, and never fails.
 *
 * The default is this very process. In a worker thread it is that thread alone. Provide your own in tests.
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
