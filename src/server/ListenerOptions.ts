/**
 * What a listener can be told, and what it does where it is not. Apart from `Listener`, so that a start that is refused
 * knows the defaults without loading the server.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type { ConnectionLimits } from "./ServerSocket.ts"

/**
 * Bounds for clients. The names are those of the config file, below `limits`; `pipelinedRequests` and `bufferedBytes` are no
 * settings of the program. Times may be given in any form of `Duration.DurationInput`; a number is milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface LimitOptions {
  /** Connections at one time, of all kinds and to all addresses of the gateway together. Default 10,000. */
  readonly connections?: number | undefined
  /** For a request's headers. Default 10 seconds. */
  readonly headersTimeout?: Duration.DurationInput | undefined
  /** For a whole request. Default 1 minute. */
  readonly requestTimeout?: Duration.DurationInput | undefined
  /** For a connection without a request. Default 5 seconds. */
  readonly keepAliveTimeout?: Duration.DurationInput | undefined
  /** Request line and headers together, in bytes; more is answered with 431. Default 16 KiB. */
  readonly headerBytes?: number | undefined
  /** Requests of one connection that wait for their answers; one more ends the connection. Default 100. */
  readonly pipelinedRequests?: number | undefined
  /** Control sockets at one time; a further one is answered with 503. Default 1,000. */
  readonly controlSockets?: number | undefined
  /** A larger frame closes a control socket with 1009. In bytes, default 64 KiB. */
  readonly frameBytes?: number | undefined
  /**
   * Frames of one control socket, pings included; after a burst of two seconds' worth, more closes it with 1008.
   * Default 100.
   */
  readonly framesPerSecond?: number | undefined
  /** What may wait for a client that reads slower than we write; more ends its control socket. In bytes, default 1 MiB. */
  readonly bufferedBytes?: number | undefined
}

/**
 * Where to listen, for whom and within which bounds. Times may be given in any form of `Duration.DurationInput`; a number is
 * milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface ListenerOptions {
  /** Host to bind. One that others can reach should have a `token`. */
  readonly host: string
  /** 0 takes a free port. */
  readonly port: number
  /** The descriptor of a socket that listens on host and port already, passed by a supervisor. Nothing is bound then. */
  readonly passedSocket?: number | undefined
  /**
   * Told when shutdown begins, with the reason; the drain goes on meanwhile, and waits for it no longer than for its
   * connections.
   */
  readonly onDrain?: ((reason: string) => Effect.Effect<void>) | undefined
  /** How long requests in flight may take once shutdown has begun. Default 10 seconds. */
  readonly drainTimeout?: Duration.DurationInput | undefined
  /**
   * What happens to the process when the lock is lost. The listener drains and closes in any case.
   *
   * - `exit` (the default): the process ends with a status other than 0. If it has SIGTERM listeners, it gets SIGTERM at once;
   *   otherwise it exits with status 1 after the drain. Where something waits for `Gateway.lost`, as `Gateway.launch` does,
   *   that comes 5 seconds after the drain, so that the program can end by itself. It ends in any case 10 seconds after
   *   `drainTimeout`.
   * - `close`: nothing else, for a process that has other work and watches `Gateway.lost`.
   */
  readonly onLost?: "exit" | "close" | undefined
  /** Bounds for clients that idle, dawdle or come in crowds. */
  readonly limits?: LimitOptions | undefined
  /**
   * Who opens a control socket must show it: `Authorization: Bearer`, or the subprotocols of `AccessToken.subprotocols`.
   * 32 to 1,024 printable ASCII characters without spaces. An app's own routes are its own business:
   * `Gateway.authorized` asks for the token there.
   */
  readonly token?: Redacted.Redacted | undefined
  /**
   * Names and addresses that `Host` may have, besides those that are served anyway: the host, the connection's own
   * address, and loopback ones on a loopback connection. `*` for any. Default none.
   */
  readonly allowedHosts?: ReadonlyArray<string> | undefined
  /**
   * Origins of browser pages that may open sockets and change something, besides the one that was asked:
   * `https://app.example`, or `*` for any. Default none.
   */
  readonly allowedOrigins?: ReadonlyArray<string> | undefined
}

/**
 * What holds where an option is left out. Sizes are in bytes.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults = {
  drainTimeout: Duration.seconds(10),
  onLost: "exit",
  limits: {
    connections: 10_000,
    headersTimeout: Duration.seconds(10),
    requestTimeout: Duration.minutes(1),
    keepAliveTimeout: Duration.seconds(5),
    headerBytes: 16 * 1024,
    pipelinedRequests: 100,
    controlSockets: 1000,
    frameBytes: 64 * 1024,
    framesPerSecond: 100,
    bufferedBytes: 1024 * 1024
  }
} as const

/**
 * The longest time that a timer of Node's takes: just above 24 days.
 *
 * @internal
 */
export const longestTimer = Duration.millis(2 ** 31 - 1)

/**
 * The limits, with the defaults where nothing is said.
 *
 * @since 0.1.0
 * @category getters
 */
export const limitsOf = (limits: LimitOptions = {}): ConnectionLimits => ({
  connections: limits.connections ?? defaults.limits.connections,
  headersTimeout: Duration.decode(limits.headersTimeout ?? defaults.limits.headersTimeout),
  requestTimeout: Duration.decode(limits.requestTimeout ?? defaults.limits.requestTimeout),
  keepAliveTimeout: Duration.decode(limits.keepAliveTimeout ?? defaults.limits.keepAliveTimeout),
  headerBytes: limits.headerBytes ?? defaults.limits.headerBytes,
  pipelinedRequests: limits.pipelinedRequests ?? defaults.limits.pipelinedRequests,
  controlSockets: limits.controlSockets ?? defaults.limits.controlSockets,
  frameBytes: limits.frameBytes ?? defaults.limits.frameBytes,
  framesPerSecond: limits.framesPerSecond ?? defaults.limits.framesPerSecond,
  bufferedBytes: limits.bufferedBytes ?? defaults.limits.bufferedBytes
})
