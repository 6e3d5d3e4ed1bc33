/**
 * The options of a listener, and their defaults. They are in a separate module, so that a start can read the defaults without
 * loading the code of the server. A start that is refused, because another gateway runs, never needs the server.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type { ConnectionLimits } from "./ServerSocket.ts"

/**
 * Limits on the connections, requests and control sockets of clients. A control socket is a WebSocket that the gateway itself
 * answers. In the config file, the object `limits` has keys of the same names. There are no keys for `pipelinedRequests` and
 * `bufferedBytes`, which only code can set. Each time is a `Duration.DurationInput`, in which a plain number means milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface LimitOptions {
  /**
   * Maximum of open connections. HTTP and WebSocket connections, to all addresses of the gateway, count together. Default 10,000.
   */
  readonly connections?: number | undefined
  /** Maximum time for the headers of a request. Default 10 seconds. */
  readonly headersTimeout?: Duration.DurationInput | undefined
  /** Maximum time for a whole request. Default 1 minute. */
  readonly requestTimeout?: Duration.DurationInput | undefined
  /** How long a connection may stay open without a request. Default 5 seconds. */
  readonly keepAliveTimeout?: Duration.DurationInput | undefined
  /** Maximum size of request line and headers together, in bytes. A larger request is answered with 431. Default 16 KiB. */
  readonly headerBytes?: number | undefined
  /** Maximum of unanswered requests on one connection. One more request ends the connection. Default 100. */
  readonly pipelinedRequests?: number | undefined
  /**
   * Maximum of open control sockets (WebSockets that the gateway itself answers). A request to open one more is answered with
   * 503. Default 1,000.
   */
  readonly controlSockets?: number | undefined
  /** Maximum size of a frame on a control socket, in bytes. A larger frame closes the socket with 1009. Default 64 KiB. */
  readonly frameBytes?: number | undefined
  /**
   * Maximum of frames per second on one control socket, pings included. After a pause, a client may send the frames of two
   * seconds at once. If a client sends more, the gateway closes the socket with 1008. Default 100.
   */
  readonly framesPerSecond?: number | undefined
  /**
   * Maximum size of the data that waits to be sent on one control socket, in bytes. If a client reads so slowly that more data
   * waits, the gateway ends its connection. Default 1 MiB.
   */
  readonly bufferedBytes?: number | undefined
}

/**
 * The options of a listener: where to listen, which clients to answer, and with which limits. Each time is a
 * `Duration.DurationInput`, in which a plain number means milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface ListenerOptions {
  /** The host to bind. Set a `token` if other machines can reach it. */
  readonly host: string
  /** The port to bind. 0 picks a free port. */
  readonly port: number
  /**
   * The descriptor of a socket that a supervisor passed. This socket must already listen on `host` and `port`. The gateway then
   * serves on it instead of binding `host` and `port`.
   */
  readonly passedSocket?: number | undefined
  /**
   * Runs when the shutdown begins, and gets its reason. The drain (the wait for requests in flight) runs at the same time. The
   * drain also waits for this effect, but not longer than `drainTimeout`.
   */
  readonly onDrain?: ((reason: string) => Effect.Effect<void>) | undefined
  /** How long requests in flight may take after shutdown has begun. Default 10 seconds. */
  readonly drainTimeout?: Duration.DurationInput | undefined
  /**
   * What happens to the process when the lock is lost. With either value, the listener drains and closes.
   *
   * - `exit` (the default): the process ends with a status other than 0. If the process has SIGTERM listeners, it gets SIGTERM at
   *   once; otherwise it exits with status 1 after the drain. If code in the process waits for `Gateway.lost`, as
   *   `Gateway.launch` does, that code can end the program by itself. To leave time for that, SIGTERM or the exit then comes only
   *   5 seconds after the drain. In all cases, the process ends at the latest `drainTimeout` plus 10 seconds after the loss.
   * - `close`: the process continues to run. Use this value if the process has other work and watches `Gateway.lost`.
   */
  readonly onLost?: "exit" | "close" | undefined
  /** Limits on the connections, requests and control sockets of clients. */
  readonly limits?: LimitOptions | undefined
  /**
   * The token that a client must send to open a control socket (a WebSocket that the gateway itself answers). The client sends
   * the token in `Authorization: Bearer` or with `AccessToken.subprotocols`. The token has 32 to 1,024 printable ASCII
   * characters, and no spaces. The routes of the app do not require the token; to protect them, use `Gateway.authorized`.
   */
  readonly token?: Redacted.Redacted | undefined
  /**
   * Additional names and addresses that the `Host` header of a request may contain; `*` allows any. Always allowed are the host
   * of these options and the address at which the connection arrived. If that address is a loopback address, loopback names are
   * allowed as well. Default: none.
   */
  readonly allowedHosts?: ReadonlyArray<string> | undefined
  /**
   * Additional origins, such as `https://app.example`; `*` allows any. The pages of an allowed origin may open WebSockets and
   * send requests that change something. The origin that matches the `Host` header of the request is always allowed. Default:
   * none.
   */
  readonly allowedOrigins?: ReadonlyArray<string> | undefined
}

/**
 * The defaults of the options. Sizes are in bytes.
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
 * The longest delay of a Node timer: 2^31 - 1 milliseconds, about 24.86 days.
 *
 * @internal
 */
export const longestTimer = Duration.millis(2 ** 31 - 1)

/**
 * Returns the limits, with the default for each limit that is absent.
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
