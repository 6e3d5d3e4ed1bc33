/**
 * The part of a listener that uses the network: an HTTP server on a bound port. It answers the gateway's own routes before any
 * app's. A drain can count its connections, announce the shutdown on them, and cut them.
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
 * bind(2) or listen(2) failed. `code` is the errno name, or empty if there is none.
 *
 * @since 0.1.0
 * @category errors
 */
export class BindError extends Data.TaggedError("BindError")<{
  readonly host: string
  readonly port: number
  readonly code: string
  readonly reason: string
  /** With `EADDRNOTAVAIL`: the addresses that this machine has. */
  readonly available?: ReadonlyArray<string>
  readonly cause?: unknown
}> {
  override get message() {
    return this.reason
  }
}

/**
 * Limits on what clients may use.
 *
 * The options of a `Listener` list the defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectionLimits {
  /**
   * Maximum of open connections. HTTP and WebSocket connections, to all addresses, count together. A further connection is closed
   * at once.
   */
  readonly connections: number
  /** Maximum time from the connection, or from the first byte of a further request, to the end of the headers. */
  readonly headersTimeout: Duration.Duration
  /** Maximum time from the moment at which `headersTimeout` begins to the end of the body. */
  readonly requestTimeout: Duration.Duration
  /** How long a connection may stay open without a request. */
  readonly keepAliveTimeout: Duration.Duration
  /** Maximum size of request line and headers together, in bytes. A larger request is answered with 431. */
  readonly headerBytes: number
  /** Maximum of unanswered requests on one connection. One more request ends the connection. */
  readonly pipelinedRequests: number
  /** Maximum of open control sockets. A request to open one more is answered with 503. */
  readonly controlSockets: number
  /** Maximum size of a frame on a control socket, in bytes. A larger frame closes the socket with 1009. */
  readonly frameBytes: number
  /**
   * Maximum of frames per second on one control socket, pings included. After a pause, a client may send the frames of two
   * seconds at once. More frames close the socket with 1008.
   */
  readonly framesPerSecond: number
  /**
   * Maximum of data that waits to be sent on one control socket, in bytes. The gateway cuts a client that reads so slowly that
   * more data waits.
   */
  readonly bufferedBytes: number
}

/**
 * Headers of every answer that the gateway itself gives. Caches must not store such an answer, and browsers must not guess
 * another content type.
 *
 * @internal
 */
export const ownAnswerHeaders = { "cache-control": "no-store", "x-content-type-options": "nosniff" } as const

/**
 * A frame that a client sent on the control socket.
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
   * The client receives every change of the gateway's state from now on. For a client that receives them already, nothing
   * changes.
   */
  readonly watch?: true
  /** A close code (RFC 6455, 7.4) and reason. */
  readonly close?: { readonly code: number; readonly reason: string }
}

/**
 * The close code of WebSockets when the gateway ends: the endpoint is going away (RFC 6455, 7.4.1).
 *
 * @internal
 */
export const goingAway = 1001

/**
 * The protocol of the control socket.
 *
 * @since 0.1.0
 * @category models
 */
export interface ControlProtocol {
  /**
   * The path whose WebSockets the gateway answers instead of an app. With `None`, the gateway answers only the WebSockets of
   * `OwnerWatch`, on which another start waits for this gateway to end.
   */
  readonly path: Option.Option<string>
  /** The first frame to each client. */
  readonly hello: Effect.Effect<string>
  /** Decides the reply to a frame. Pure. */
  readonly answer: (frame: ControlFrame) => ControlReply
  /**
   * Runs from a client's message `watch` on, and pushes frames to that client. Ends when the client disconnects or the gateway
   * shuts down.
   */
  readonly watch: (client: WatchingClient) => Effect.Effect<never>
  /** The last frame to a client when the gateway shuts down, with the reason. */
  readonly farewell: (reason: string) => string
}

/**
 * A client of the control socket that has sent `watch`, to receive every change of the gateway's state.
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchingClient {
  /** Sends a frame. A client that reads too slowly is cut, as with any frame. */
  readonly push: (frame: string) => Effect.Effect<void>
  /** The number of open connections of the whole server. */
  readonly connections: Effect.Effect<number>
  /** The number of open connections without those of clients that watch. */
  readonly pending: Effect.Effect<number>
}

/**
 * The routes that the gateway answers itself, whatever app is served.
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
  /** Answers the paths that the gateway owns, and every path while no app is served. */
  readonly app: HttpApp.Default
  readonly control: ControlProtocol
}>() {}

/**
 * Where to bind, which requests to answer, and with which limits and routes.
 *
 * @since 0.1.0
 * @category models
 */
export interface BindOptions {
  readonly address: Address
  /** The descriptor of a socket that already listens, to use instead of binding. It must listen on `address`. */
  readonly passedSocket?: number | undefined
  readonly limits: ConnectionLimits
  /** The rules that decide which requests are answered, including those for the app. */
  readonly rules: Rules
  /**
   * The token that a client must send to open a control socket. A client of `OwnerWatch` needs no token, because it learns only
   * that the gateway ends.
   */
  readonly token?: Redacted.Redacted | undefined
  readonly routes: OwnRoutes["Type"]
  /** Completes with the reason when the drain begins. The app's own WebSockets are then closed with 1001. */
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
   * Whether this machine has no address in 127.0.0.0/8. In that case, a socket on 0.0.0.0 does not keep other sockets from the
   * guard address, which is the loopback address that every gateway binds.
   */
  readonly lacksLoopbackV4: boolean
  /** Makes the same server accept on another host too, at the same port. */
  readonly alsoBind: (host: string) => Effect.Effect<void, BindError, Scope.Scope>
  /** Accepts no further connection and closes the idle ones. */
  readonly stopAccepting: Effect.Effect<void>
  /**
   * Sends a last frame on every control socket whose client does not watch, and closes the socket.
   */
  readonly closeControlSockets: (frame: string, code: number, reason: string) => Effect.Effect<void>
  /**
   * Sends a last frame to every client that watches, and closes its socket. A shutdown dismisses these clients last, so that they
   * see it to its end. Completes when they have disconnected.
   */
  readonly dismissViewers: (frame: string, code: number, reason: string) => Effect.Effect<void>
  /** The number of open connections, including those of clients that watch. */
  readonly connections: Effect.Effect<number>
  /** The number of open connections without those of clients that watch. A shutdown waits for these. */
  readonly pending: Effect.Effect<number>
  /** Completes once `stopAccepting` has run and `pending` is 0. */
  readonly idle: Effect.Effect<void>
  /** Cuts every connection except those of clients that watch. The connections of these clients are cut when the scope closes. */
  readonly destroyConnections: Effect.Effect<void>
}

/**
 * Binds sockets for servers. `NodeServerSocket.layer` binds those of the operating system.
 *
 * @since 0.1.0
 * @category tags
 */
export class ServerSocket extends Context.Tag("gateway-lock/ServerSocket")<ServerSocket, {
  /**
   * Binds exclusively (no address sharing of any kind) and starts accepting. Port 0 picks a free port. Fails with
   * `BindError`.
   */
  readonly bind: (options: BindOptions) => Effect.Effect<BoundSocket, BindError, Scope.Scope>
}>() {}
