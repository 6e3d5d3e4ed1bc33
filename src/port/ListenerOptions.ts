/**
 * What a listener can be told, and what it does where it is not. Apart from `Listener`, so that a start that is refused
 * knows the defaults without loading the server.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"

/**
 * @since 0.1.0
 * @category models
 */
export interface ListenerOptions {
  readonly host: string
  /** 0 takes a free port. */
  readonly port: number
  /** The descriptor of a socket that listens on host and port already, passed by a supervisor. Nothing is bound then. */
  readonly passedSocket?: number | undefined
  /** Told when shutdown begins, with the reason; the drain goes on meanwhile. */
  readonly onDrain?: ((reason: string) => Effect.Effect<void>) | undefined
  /** How long requests in flight may take once shutdown has begun. Default 10 seconds. */
  readonly drainTimeout?: Duration.DurationInput | undefined
  /** Connections at one time. Default 10,000. */
  readonly maxConnections?: number | undefined
  /** For a request's headers. Default 10 seconds. */
  readonly headersTimeout?: Duration.DurationInput | undefined
  /** For a whole request. Default 1 minute. */
  readonly requestTimeout?: Duration.DurationInput | undefined
  /** For a connection without a request. Default 5 seconds. */
  readonly keepAliveTimeout?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category constants
 */
export const defaults = {
  drainTimeout: Duration.seconds(10),
  maxConnections: 10_000,
  headersTimeout: Duration.seconds(10),
  requestTimeout: Duration.minutes(1),
  keepAliveTimeout: Duration.seconds(5)
} as const
