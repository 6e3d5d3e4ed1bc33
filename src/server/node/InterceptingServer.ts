/**
 * An HTTP server that first checks each request and upgrade against the access rules. Then it answers the gateway's own routes
 * itself, and passes all other requests to the app.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constTrue } from "effect/Function"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import { codeOf } from "../../internal/errno.ts"
import { watchPath, watchSubprotocol } from "../../probe/OwnerWatch.ts"
import type * as Access from "../Access.ts"
import * as AccessToken from "../AccessToken.ts"
import { longestTimer } from "../ListenerOptions.ts"
import type { BindOptions, ConnectionLimits } from "../ServerSocket.ts"
import * as AppUpgrades from "./AppUpgrades.ts"
import { type Connection, type ConnectionTable, type Run, unansweredOf } from "./ConnectionTable.ts"
import type { ControlSockets } from "./ControlSockets.ts"
import { refuseRaw, refuseRequest, unreadable } from "./Refusals.ts"
import type { ServedApp } from "./ServedApps.ts"
import * as UpgradeRequests from "./UpgradeRequests.ts"

// ---------------------------------------------------------------------------
// the server, with its limits
// ---------------------------------------------------------------------------

/**
 * An HTTP server that can drop a connection before any listener gets it. A "connection" listener cannot do this, because Node's
 * own listener (`connectionListener` in lib/_http_server.js) would use the socket all the same. `maxConnections` is not enough
 * either, because it counts only the connections that one listening socket has accepted (`onconnection` in lib/net.js). A gateway
 * can have several listening sockets.
 *
 * Requests and upgrades must go through `emit` of `http.Server`, because monitoring agents patch that method to observe them.
 */
class DroppingServer extends Http.Server {
  #drops: (socket: Net.Socket) => boolean = () => false
  dropIf(drops: (socket: Net.Socket) => boolean) {
    this.#drops = drops
  }
  override emit(event: string, ...args: Array<unknown>): boolean {
    const [socket] = args
    if (event === "connection" && socket instanceof Net.Socket && this.#drops(socket)) {
      socket.destroy()
      return true
    }
    return super.emit(event, ...args)
  }
}

/** The interval at which Node compares each connection with the header and request timeouts. */
const checkingInterval = Duration.seconds(1)

/** Converts a duration to whole milliseconds, at most as many as a timer of Node can take. For Node, 0 means no limit. */
const timerMillis = (duration: Duration.Duration): number =>
  Math.ceil(Duration.toMillis(Duration.min(duration, longestTimer)))

/**
 * The limit for headers, in milliseconds. Node throws if `headersTimeout` is longer than `requestTimeout` (`storeHTTPOptions` in
 * lib/_http_server.js). So the result is the shorter one of the two, unless `requestTimeout` is 0 (no limit).
 */
const headersMillis = ({ headersTimeout, requestTimeout }: ConnectionLimits): number => {
  const [headers, request] = [timerMillis(headersTimeout), timerMillis(requestTimeout)]
  return request === 0 ? headers : Math.min(headers, request)
}

/** Makes a server with these limits. The server answers nothing until `intercept` has added listeners to it. */
export const make = (limits: ConnectionLimits): DroppingServer => {
  const server = new DroppingServer({
    IncomingMessage: UpgradeRequests.UpgradeRequest,
    maxHeaderSize: limits.headerBytes,
    // Node's check of the `Host` header is off, because `Access` checks that header. So a request without `Host` gets a
    // response of the same form as a request with a wrong `Host`.
    requireHostHeader: false,
    headersTimeout: headersMillis(limits),
    requestTimeout: timerMillis(limits.requestTimeout),
    keepAliveTimeout: timerMillis(limits.keepAliveTimeout),
    connectionsCheckingInterval: timerMillis(checkingInterval)
  })
  server.maxConnections = limits.connections
  return server
}

// ---------------------------------------------------------------------------
// judging a request
// ---------------------------------------------------------------------------

/** Everything that takes part in answering the requests of a server. */
export interface Answering {
  readonly options: BindOptions
  readonly table: ConnectionTable
  readonly controlSockets: ControlSockets
  /** The apps that are registered now. The last one gets all requests that the gateway does not answer itself. */
  readonly apps: ReadonlyArray<ServedApp>
  readonly run: Run
}

/**
 * The parts of a request that decide whether it is answered. They are read on demand, to save time. If a connection repeats a
 * `Host` that was admitted before, `Access.judgePerConnection` reads only some of them.
 */
class RequestHead implements Access.Head {
  readonly #request: Http.IncomingMessage
  readonly isUpgrade: boolean
  readonly isOpen: boolean
  constructor(request: Http.IncomingMessage, isUpgrade: boolean, isOpen: boolean) {
    this.#request = request
    this.isUpgrade = isUpgrade
    this.isOpen = isOpen
  }
  get method() {
    return this.#request.method ?? ""
  }
  get target() {
    return this.#request.url ?? ""
  }
  get rawHeaders() {
    return this.#request.rawHeaders
  }
  get httpVersion() {
    return this.#request.httpVersion
  }
  get localAddress() {
    return this.#request.socket.localAddress
  }
}

const pathOf = (request: Http.IncomingMessage): string => {
  const url = request.url ?? ""
  const end = url.indexOf("?")
  return end === -1 ? url : url.slice(0, end)
}

/**
 * Whether a connection has reached the limit of unanswered requests. A request counts as answered once the app has ended its
 * response, even if part of that response is not sent yet.
 */
const isFull = (connection: Connection, { pipelinedRequests }: ConnectionLimits): boolean => {
  const unanswered = unansweredOf(connection)
  return unanswered.length >= pipelinedRequests
    && unanswered.filter((response) => !response.writableEnded).length >= pipelinedRequests
}

// ---------------------------------------------------------------------------
// requests
// ---------------------------------------------------------------------------

type RequestListener = ServedApp["request"]

const makeAnswerRequest = (
  { apps, options: { limits, routes }, table }: Answering,
  ownHandler: RequestListener
): RequestListener =>
(request, response) => {
  const connection = table.get(request.socket)
  // The request is ignored if its connection has already ended, or if an earlier request on it was refused.
  if (connection === undefined || connection.refused) return
  if (isFull(connection, limits)) return request.socket.destroy()
  table.countRequest()
  UpgradeRequests.keepRest(request)
  connection.responses.push(response)
  connection.latest = response
  if (table.isStopped()) table.closeAfter(response)
  const isOwn = routes.owns(pathOf(request))
  const verdict = connection.judge(new RequestHead(request, false, isOwn))
  if (verdict._tag === "Refused") {
    connection.refused = true
    return refuseRequest(response, verdict.status, verdict.reason)
  }
  const app = isOwn ? undefined : apps.at(-1)
  if (app === undefined) return ownHandler(request, response)
  if (request.headers[AppUpgrades.protocolHeader] === undefined) return app.request(request, response)
  for (const listener of app.requestWithToken) listener(request, response)
}

// ---------------------------------------------------------------------------
// upgrades
// ---------------------------------------------------------------------------

/** One function for all upgraded sockets: thousands of them may be idle, and each would keep its own. */
const destroy = function(this: Duplex) {
  this.destroy()
}

type UpgradeListener = (request: Http.IncomingMessage, socket: Duplex, head: Buffer) => void

const makeAnswerUpgrade = (
  { apps, controlSockets, options: { routes }, table }: Answering
): UpgradeListener =>
(request, socket, head) => {
  // Node's server stops handling the errors of a socket that was upgraded (`onParserExecuteCommon` in lib/_http_server.js).
  // Without this listener, such an error would end the process.
  socket.on("error", destroy)
  const connection = table.get(request.socket)
  if (connection !== undefined) connection.writtenBeforeUpgrade = request.socket.bytesWritten
  if (table.isStopping() || connection === undefined || connection.refused) return socket.destroy()
  const path = pathOf(request)
  const verdict = connection.judge(new RequestHead(request, true, routes.owns(path)))
  if (verdict._tag === "Refused") return refuseRaw(socket, verdict.status, verdict.reason)
  UpgradeRequests.offerOnlyWebSocket(request)
  const isControl = Option.contains(routes.control.path, path)
  const isWatcher = (isControl || path === watchPath)
    && AccessToken.offered(request.headers["sec-websocket-protocol"]).includes(watchSubprotocol)
  if (isControl || isWatcher) return controlSockets.open(request, socket, head, connection, isWatcher)
  const app = apps.at(-1)
  if (app === undefined) return refuseRaw(socket, 503, "starting")
  for (const listener of app.upgrade) listener(request, socket, head)
}

// ---------------------------------------------------------------------------
// requests that Node cannot parse
// ---------------------------------------------------------------------------

/**
 * Refuses a request that Node cannot parse. The refusal is sent after the responses to earlier requests, and is written directly
 * to the socket. Node writes its own refusal in the same way if there is no "clientError" listener (`socketOnError` in
 * lib/_http_server.js). If an app answers the same request later, the app writes to a closed socket.
 */
const refuseUnreadable = (socket: Net.Socket, connection: Connection, status: number, reason: string) => {
  connection.refused = true
  const { latest } = connection
  // If the latest request is incomplete, the error is in the body of that request. An app may already be answering it.
  const broken = latest?.req.complete === false ? latest : undefined
  const before = unansweredOf(connection).filter((response) => response !== broken).at(-1)
  const answer = () => {
    if (!socket.writable) return
    if (broken?.headersSent !== true) return refuseRaw(socket, status, reason)
    // The response to the broken request has begun, so no refusal can follow. If the app has ended that response, its remaining
    // bytes are sent before the socket is closed. Otherwise, the response is cut off.
    if (broken.writableEnded && !broken.closed) broken.once("close", () => socket.destroySoon())
    else socket.destroy()
  }
  if (before === undefined) answer()
  else before.once("close", answer)
}

const makeAnswerUnreadable = (table: ConnectionTable) => (error: Error, socket: Duplex) => {
  const connection = socket instanceof Net.Socket ? table.get(socket) : undefined
  if (!(socket instanceof Net.Socket) || !socket.writable || connection === undefined) return socket.destroy()
  if (!connection.refused) refuseUnreadable(socket, connection, ...unreadable(codeOf(error)))
}

/** Adds the listeners with which the server answers requests and upgrades. */
export const intercept = (
  server: DroppingServer,
  answering: Answering
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { options: { limits, routes }, run, table } = answering
    server.on("clientError", makeAnswerUnreadable(table))
    // Tracing is off for the gateway's own routes. The health routes are polled every few seconds, and a span for each poll would
    // drown out all other spans.
    const ownHandler = yield* HttpMiddleware.withTracerDisabledWhenEffect(
      NodeHttpServer.makeHandler(routes.app),
      constTrue
    )
    const answerRequest = makeAnswerRequest(answering, ownHandler)
    const answerUpgrade = makeAnswerUpgrade(answering)
    const logThrown = (error: unknown) =>
      run(Effect.logError("a connection or request failed before it was answered", Cause.die(error)))
    server.dropIf(() => table.size() >= limits.connections)
    // These two listeners catch every exception, because an uncaught exception would end the process.
    server.on("request", (request, response) => {
      try {
        answerRequest(request, response)
      } catch (error) {
        logThrown(error)
        if (response.headersSent) request.socket.destroy()
        else refuseRequest(response, 500, "internal error")
      }
    })
    server.on("upgrade", (request, socket, head) => {
      try {
        answerUpgrade(request, socket, head)
      } catch (error) {
        logThrown(error)
        if (request.socket.bytesWritten === table.get(request.socket)?.writtenBeforeUpgrade) {
          return refuseRaw(socket, 500, "internal error")
        }
        // Bytes of an answer were written to this connection after the upgrade request had arrived, so no refusal can follow.
        socket.destroy()
      }
    })
  })
