/**
 * The part of a listener that uses the network: an HTTP server on a bound port. It answers the gateway's own routes itself and
 * passes other requests to the app. At a shutdown, the listener counts the connections of this server, announces the shutdown on
 * them, and cuts those that are still open.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import type * as HttpServer from "@effect/platform/HttpServer"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { Address } from "../Address.ts"
import type { Rules } from "./Access.ts"

/**
 * bind(2) or listen(2) failed. `code` is the name of the system error, such as `EADDRINUSE`. It is empty if the failure has no
 * such name.
 *
 * @since 0.1.0
 * @category errors
 */
export class BindError extends Data.TaggedError("BindError")<{
  readonly host: string
  readonly port: number
  readonly code: string
  readonly reason: string
  /** The addresses that this machine has. Set only if `code` is `EADDRNOTAVAIL`. */
  readonly available?: ReadonlyArray<string>
  readonly cause?: unknown
}> {
  override get message() {
    return this.reason
  }
}

/**
 * Limits on the connections, requests and control sockets of clients. A control socket is a WebSocket that the gateway itself
 * answers.
 *
 * `LimitOptions`, in the options of a `Listener`, lists the defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectionLimits {
  /**
   * Maximum of open connections. HTTP and WebSocket connections, to all addresses, count together. One more connection is closed
   * at once.
   */
  readonly connections: number
  /**
   * Maximum time for the headers of a request, until their end. For the first request on a connection, the time begins when the
   * connection is opened. For each later request, the time begins with the first byte of the request.
   */
  readonly headersTimeout: Duration.Duration
  /** Maximum time for a whole request, until the end of its body. The time begins at the same moment as `headersTimeout`. */
  readonly requestTimeout: Duration.Duration
  /** How long a connection may stay open without a request. */
  readonly keepAliveTimeout: Duration.Duration
  /** Maximum size of request line and headers together, in bytes. A larger request is answered with 431. */
  readonly headerBytes: number
  /** Maximum of unanswered requests on one connection. One more request ends the connection. */
  readonly pipelinedRequests: number
  /**
   * Maximum of open control sockets (WebSockets that the gateway itself answers). A request to open one more is answered with
   * 503.
   */
  readonly controlSockets: number
  /** Maximum size of a frame on a control socket, in bytes. A larger frame closes the socket with 1009. */
  readonly frameBytes: number
  /**
   * Maximum of frames per second on one control socket, pings included. After a pause, a client may send the frames of two
   * seconds at once. If a client sends more, the gateway closes the socket with 1008.
   */
  readonly framesPerSecond: number
  /**
   * Maximum size of the data that waits to be sent on one control socket, in bytes. If a client reads so slowly that more data
   * waits, the gateway ends its connection.
   */
  readonly bufferedBytes: number
}

/**
 * The gateway sends these headers with every answer that it gives itself. They tell caches not to store the answer, and browsers
 * not to guess another content type.
 *
 * @internal
 */
export const ownAnswerHeaders = { "cache-control": "no-store", "x-content-type-options": "nosniff" } as const

/**
 * A frame that a client sent on a control socket (a WebSocket that the gateway itself answers).
 *
 * @since 0.1.0
 * @category models
 */
export type ControlFrame =
  | { readonly _tag: "Text"; readonly text: string }
  | { readonly _tag: "Binary" }

/**
 * The reply to a frame of the control socket: frames to send, then an optional close.
 *
 * @since 0.1.0
 * @category models
 */
export interface ControlReply {
  /** Text frames, in this order. */
  readonly send: ReadonlyArray<string>
  /**
   * If set, the client receives every change of the gateway's state from now on. For a client that receives the changes already,
   * `watch` has no effect.
   */
  readonly watch?: true
  /** If set, the gateway sends the frames, and then closes the WebSocket with this close code (RFC 6455, 7.4) and reason. */
  readonly close?: { readonly code: number; readonly reason: string }
}

/**
 * The code with which the gateway closes WebSockets when it shuts down. The code means that the endpoint is going away (RFC 6455,
 * 7.4.1).
 *
 * @internal
 */
export const goingAway = 1001

/**
 * The protocol of the control socket (a WebSocket that the gateway itself answers): its path, and the frames that the gateway sends.
 *
 * @since 0.1.0
 * @category models
 */
export interface ControlProtocol {
  /**
   * The path of the control socket. The gateway itself answers the WebSockets at this path, so an app does not get them. With
   * `None`, the gateway answers only the WebSockets on which another start waits until this gateway ends (`OwnerWatch`).
   */
  readonly path: Option.Option<string>
  /** The first frame to each client. */
  readonly hello: Effect.Effect<string>
  /** Decides the reply to a frame. Pure. */
  readonly answer: (frame: ControlFrame) => ControlReply
  /**
   * Starts when a client sends the message `watch`, and pushes frames to that client. It is interrupted when the client
   * disconnects or the gateway shuts down.
   */
  readonly watch: (client: WatchingClient) => Effect.Effect<never>
  /** Makes the last frame that a client receives when the gateway shuts down. The argument is the reason for the shutdown. */
  readonly farewell: (reason: string) => string
}

/**
 * A client of the control socket that has sent `watch`, to receive every change of the gateway's state.
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchingClient {
  /** Sends a frame. If more unsent data waits for this client than `bufferedBytes` (a limit) allows, cuts its connection instead. */
  readonly push: (frame: string) => Effect.Effect<void>
  /** The number of open connections of the whole server. */
  readonly connections: Effect.Effect<number>
  /** The number of open connections, without those of clients that have sent `watch`. */
  readonly pending: Effect.Effect<number>
}

/**
 * The routes that the gateway answers itself, independently of the app.
 *
 * @example
 * import { HttpServerResponse } from "@effect/platform"
 * import { Effect, Layer, Option } from "effect"
 * import { HealthProbe, LockFile, Server } from "gateway-lock"
 *
 * // The minimum of a gateway: /healthz, by which other gateways recognize it.
 * const Routes = Layer.effect(
 *   Server.ServerSocket.OwnRoutes,
 *   Effect.map(LockFile.LockFile, ({ instanceId }) => ({
 *     owns: (path: string) => path === HealthProbe.healthPath,
 *     app: HttpServerResponse.unsafeJson({ ok: true, status: "live", instanceId }),
 *     control: {
 *       path: Option.some("/control"),
 *       hello: Effect.succeed("{}"),
 *       answer: () => ({ send: [] }),
 *       watch: () => Effect.never,
 *       farewell: (reason: string) => JSON.stringify({ type: "shutdown", reason })
 *     }
 *   }))
 * )
 *
 * @since 0.1.0
 * @category tags
 */
export class OwnRoutes extends Context.Tag("gateway-lock/OwnRoutes")<OwnRoutes, {
  /** Whether a request path (without query) belongs to the gateway. */
  readonly owns: (path: string) => boolean
  /** Answers the requests for paths that the gateway owns. While no app of the user is served, it answers all requests. */
  readonly app: HttpApp.Default
  readonly control: ControlProtocol
}>() {}

/**
 * The options of `bind`: where to bind, which requests to answer, and with which limits and routes.
 *
 * @since 0.1.0
 * @category models
 */
export interface BindOptions {
  readonly address: Address
  /**
   * The descriptor of a socket that already listens on `address`. If it is set, the server uses that socket and does not bind
   * `address`.
   */
  readonly passedSocket?: number | undefined
  readonly limits: ConnectionLimits
  /** These rules decide which requests are answered and which are refused. They apply to the requests for the app as well. */
  readonly rules: Rules
  /**
   * The token that a client must send to open a control socket. A start that waits until this gateway ends (`OwnerWatch`) needs
   * no token, because it learns nothing else about the gateway.
   */
  readonly token?: Redacted.Redacted | undefined
  readonly routes: OwnRoutes["Type"]
  /**
   * Completes when the drain (the first part of a shutdown) begins, with the reason. The server then closes the app's WebSockets
   * with 1001.
   */
  readonly drainBegan: Effect.Effect<string>
}

/**
 * A server that accepts connections until its scope closes.
 *
 * @since 0.1.0
 * @category models
 */
export interface BoundSocket {
  /** The bound address, with the real port if port 0 was requested. */
  readonly address: Address
  /** The `HttpServer` that apps are served on. Apps get every path except the gateway's own. */
  readonly server: HttpServer.HttpServer
  /**
   * Whether this machine has no address in 127.0.0.0/8.
   *
   * All gateways bind the same loopback address besides their own, so that no two get the same port. It is 127.0.0.1, or ::1 if
   * this property is `true`. A socket on 0.0.0.0 does not keep other sockets from ::1. So a gateway on 0.0.0.0 then binds ::1 too.
   */
  readonly lacksLoopbackV4: boolean
  /** Makes this server also accept connections on the address `host` of this machine, at the same port. */
  readonly alsoBind: (host: string) => Effect.Effect<void, BindError, Scope.Scope>
  /** Stops accepting connections, and closes those that are idle. */
  readonly stopAccepting: Effect.Effect<void>
  /**
   * Sends a last frame on every control socket (a WebSocket of the gateway itself, not of the app), and then closes the socket. The
   * sockets of viewers (clients that have sent `watch`) stay open.
   */
  readonly closeControlSockets: (frame: string, code: number, reason: string) => Effect.Effect<void>
  /**
   * Sends a last frame to every viewer (a client that has sent `watch`), and closes the sockets of the viewers. A shutdown does
   * this last, so that viewers see the whole shutdown. Completes when all viewers have disconnected.
   */
  readonly dismissViewers: (frame: string, code: number, reason: string) => Effect.Effect<void>
  /** The number of open connections, including those of viewers (clients that have sent `watch`). */
  readonly connections: Effect.Effect<number>
  /** The number of requests since the bind, the gateway's own routes included. Upgrades to WebSockets do not count. */
  readonly requests: Effect.Effect<number>
  /** The number of open connections without those of viewers (clients that have sent `watch`). A drain waits until this is 0. */
  readonly pending: Effect.Effect<number>
  /** Completes once `stopAccepting` has run and `pending` is 0. */
  readonly idle: Effect.Effect<void>
  /** Cuts every connection except those of viewers (clients that have sent `watch`). Viewers are cut when the scope closes. */
  readonly destroyConnections: Effect.Effect<void>
}

/**
 * Binds sockets for servers. `NodeServerSocket.layer` binds sockets of the operating system.
 *
 * @since 0.1.0
 * @category tags
 */
export class ServerSocket extends Context.Tag("gateway-lock/ServerSocket")<ServerSocket, {
  /**
   * Binds `address` exclusively (no address sharing of any kind), and starts to accept connections. Port 0 picks a free port. Fails
   * with `BindError`.
   */
  readonly bind: (options: BindOptions) => Effect.Effect<BoundSocket, BindError, Scope.Scope>
}>() {}
