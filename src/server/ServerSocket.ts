/**
 * The part of a listener that touches the network: a bound HTTP server whose own routes are answered before any app's,
 * and whose connections can be counted, told of a shutdown and cut.
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
 * bind(2) or listen(2) failed. `code` is the errno name where there is one.
 *
 * @since 0.1.0
 * @category errors
 */
export class BindError extends Data.TaggedError("BindError")<{
  readonly host: string
  readonly port: number
  readonly code: string
  readonly reason: string
  /** With `EADDRNOTAVAIL`: the addresses that there are. */
  readonly available?: ReadonlyArray<string>
  readonly cause?: unknown
}> {
  override get message() {
    return this.reason
  }
}

/**
 * Bounds for clients that idle, dawdle or come in crowds.
 *
 * Defaults are on the options of a `Listener`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectionLimits {
  /** Connections at one time, of all kinds and to all addresses together; a further one is closed at once. */
  readonly connections: number
  /** From connecting (or from the first byte of a further request) to the end of the headers. */
  readonly headersTimeout: Duration.Duration
  /** The same to the end of the body. */
  readonly requestTimeout: Duration.Duration
  /** How long a connection may stay open without a request. */
  readonly keepAliveTimeout: Duration.Duration
  /** Request line and headers together, in bytes; more is answered with 431. */
  readonly headerBytes: number
  /** Requests of one connection that wait for their answers; one more ends the connection. */
  readonly pipelinedRequests: number
  /** Control sockets at one time; a further one is answered with 503. */
  readonly controlSockets: number
  /** A larger frame, in bytes, closes a control socket with 1009. */
  readonly frameBytes: number
  /** Frames of one control socket, pings included; after a burst of two seconds' worth, more closes it with 1008. */
  readonly framesPerSecond: number
  /** What may wait, in bytes, for a client that reads slower than we write; more ends its control socket. */
  readonly bufferedBytes: number
}

/**
 * What every answer of the gateway's own carries: it is kept by nobody, and is what it says it is.
 *
 * @internal
 */
export const ownAnswerHeaders = { "cache-control": "no-store", "x-content-type-options": "nosniff" } as const

/**
 * What a client sent on the control socket.
 *
 * @since 0.1.0
 * @category models
 */
export type ControlFrame =
  | { readonly _tag: "Text"; readonly text: string }
  | { readonly _tag: "Binary" }

/**
 * What to do about it: frames to send, then perhaps a close code and reason.
 *
 * @since 0.1.0
 * @category models
 */
export interface ControlReply {
  /** Text frames, in this order. */
  readonly send: ReadonlyArray<string>
  /** From now on, the client watches. Again changes nothing. */
  readonly watch?: true
  /** A close code (RFC 6455, 7.4) and reason. */
  readonly close?: { readonly code: number; readonly reason: string }
}

/**
 * With what WebSockets are closed when the gateway ends: the endpoint is going away (RFC 6455, 7.4.1).
 *
 * @internal
 */
export const goingAway = 1001

/**
 * What the gateway itself says over a WebSocket.
 *
 * @since 0.1.0
 * @category models
 */
export interface ControlProtocol {
  /** The path of the WebSocket, which no app gets. `None`: there is none, and only watchers are answered. */
  readonly path: Option.Option<string>
  /** The first frame to whoever connects. */
  readonly hello: Effect.Effect<string>
  /** What is done about a frame. Pure. */
  readonly answer: (frame: ControlFrame) => ControlReply
  /** Runs for as long as a client watches, and pushes what it is to see. */
  readonly watch: (client: WatchingClient) => Effect.Effect<never>
  /** The last frame, when the gateway shuts down for a reason. */
  readonly farewell: (reason: string) => string
}

/**
 * A client of the control socket that wants to be told of every change.
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchingClient {
  /** Sends a frame. One that does not read in time is cut, as with any frame. */
  readonly push: (frame: string) => Effect.Effect<void>
  /** Connections of the whole server. */
  readonly connections: Effect.Effect<number>
  /** The same without those that watch. */
  readonly pending: Effect.Effect<number>
}

/**
 * What the gateway answers by itself, whatever app is served.
 *
 * @example
 * import { HttpServerResponse } from "@effect/platform"
 * import { Effect, Layer, Option } from "effect"
 * import { HealthProbe, LockFile, Server } from "gateway-lock"
 *
 * // The least that makes a listener a gateway: /healthz, by which others know it.
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
  /** Whether a request path (without query) is the gateway's. */
  readonly owns: (path: string) => boolean
  /** Answers those paths, and every path while no app is served. */
  readonly app: HttpApp.Default
  readonly control: ControlProtocol
}>() {}

/**
 * Where to bind, and who is answered how.
 *
 * @since 0.1.0
 * @category models
 */
export interface BindOptions {
  readonly address: Address
  /** The descriptor of a socket that listens already, and must do so on `address`. */
  readonly passedSocket?: number | undefined
  readonly limits: ConnectionLimits
  /** Which requests are answered at all, the app's too. */
  readonly rules: Rules
  /** Who opens a control socket must show it, but for a watcher, who is told nothing but the end. */
  readonly token?: Redacted.Redacted | undefined
  readonly routes: OwnRoutes["Type"]
  /** Completes with the reason when the drain begins: an app's own WebSockets are told to go away then. */
  readonly drainBegan: Effect.Effect<string>
}

/**
 * A server that accepts connections until its scope closes.
 *
 * @since 0.1.0
 * @category models
 */
export interface BoundSocket {
  /** With the real port where 0 was asked for. */
  readonly address: Address
  /** What apps serve on. Their paths are all but the gateway's own. */
  readonly server: HttpServer.HttpServer
  /** Whether this machine has no address of 127.0.0.0/8, so that 0.0.0.0 does not cover the guard address. */
  readonly lacksLoopbackV4: boolean
  /** Lets the same server accept on another host, same port, too. */
  readonly alsoBind: (host: string) => Effect.Effect<void, BindError, Scope.Scope>
  /** Accepts no further connection and closes the idle ones. */
  readonly stopAccepting: Effect.Effect<void>
  /** Sends a last frame on every control socket that does not watch, and closes it. */
  readonly closeControlSockets: (frame: string, code: number, reason: string) => Effect.Effect<void>
  /** The same for those that watch, who see a shutdown to its end; completes when they have gone. */
  readonly dismissViewers: (frame: string, code: number, reason: string) => Effect.Effect<void>
  /** Open now, those that watch too. */
  readonly connections: Effect.Effect<number>
  /** Connections without those that watch: what a shutdown waits for. */
  readonly pending: Effect.Effect<number>
  /** Completes when nothing is pending. Only after `stopAccepting`. */
  readonly idle: Effect.Effect<void>
  /** Ends every connection but those that watch now, without a word. Closing the scope ends these as well. */
  readonly destroyConnections: Effect.Effect<void>
}

/**
 * The operating system's sockets for servers; `NodeServerSocket.layer` has the real ones.
 *
 * @since 0.1.0
 * @category tags
 */
export class ServerSocket extends Context.Tag("gateway-lock/ServerSocket")<ServerSocket, {
  /**
   * Binds exclusively (no address sharing of any kind) and starts accepting. Port 0 takes a free one. Fails with
   * `BindError`.
   */
  readonly bind: (options: BindOptions) => Effect.Effect<BoundSocket, BindError, Scope.Scope>
}>() {}
