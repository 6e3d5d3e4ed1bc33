/**
 * `ServerSocket` over `node:http` and `ws`.
 *
 * @since 0.1.0
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import { constTrue } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import * as Net from "node:net"
import { Duplex } from "node:stream"
import * as WS from "ws"
import * as Metrics from "../Metrics.ts"
import { type Address, isLoopback, isWildcard, toUrl } from "./Address.ts"
import { BindError, type BindOptions, type BoundSocket, type ControlReply, ServerSocket } from "./ServerSocket.ts"

/** How often connections are checked against the header and request timeouts. */
const checkingInterval = Duration.seconds(1)

/** A client that takes this much longer to read than we to write is cut. */
const maxBufferedBytes = 1024 * 1024

/** How often a control socket must show that its peer still is there. */
const pingInterval = Duration.seconds(30)

/** While shutting down, how long a connection that has just been accepted may take to send something. */
const firstRequestGrace = Duration.seconds(1)

/** After a close frame of ours, how long the peer may take to answer it while the gateway runs. */
const closeTimeoutMillis = 5_000

/** What a shutdown must know of a connection. */
interface Connection {
  readonly unanswered: Set<Http.ServerResponse>
  upgraded: boolean
  /** What had been read when the last answer was sent: more than that is a request that has begun. */
  bytesAnswered: number
}

type Intercept = (event: string, args: ReadonlyArray<unknown>) => boolean

/**
 * An HTTP server some of whose requests and upgrades never reach the listeners that an app has registered. Routing in
 * front of the listeners leaves `NodeHttpServer`, which registers them, as it is.
 */
class InterceptingServer extends Http.Server {
  #intercept: Intercept = () => false
  intercept(intercept: Intercept) {
    this.#intercept = intercept
  }
  override emit(event: string, ...args: Array<unknown>): boolean {
    return this.#intercept(event, args) || super.emit(event, ...args)
  }
}

const errorCode = (cause: unknown): string =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string" ? cause.code : ""

const bindError = (address: Address, cause: unknown) =>
  new BindError({
    ...address,
    code: errorCode(cause),
    reason: cause instanceof Error ? cause.message : String(cause),
    cause
  })

/** Whether a socket's own address is what a host asks for. */
const names = (bound: string, host: string): boolean =>
  bound === host || (host === "localhost" && isLoopback(bound)) || (isWildcard(bound) && isWildcard(host))

const pathOf = (request: Http.IncomingMessage): string => {
  const url = request.url ?? ""
  const end = url.indexOf("?")
  return end === -1 ? url : url.slice(0, end)
}

const send = (ws: WS.WebSocket, frame: string) => {
  if (ws.bufferedAmount > maxBufferedBytes) ws.terminate()
  else ws.send(frame)
}

const bind = (options: BindOptions): Effect.Effect<BoundSocket, BindError, Scope.Scope> =>
  Effect.gen(function*() {
    const { address: asked, limits, routes } = options
    const server = new InterceptingServer({
      headersTimeout: Duration.toMillis(limits.headersTimeout),
      requestTimeout: Duration.toMillis(limits.requestTimeout),
      keepAliveTimeout: Duration.toMillis(limits.keepAliveTimeout),
      connectionsCheckingInterval: Duration.toMillis(checkingInterval)
    })
    server.maxConnections = limits.maxConnections

    // -----------------------------------------------------------------------
    // connections: counted, so that a drain knows when to end and what to cut
    // -----------------------------------------------------------------------

    const run = yield* FiberSet.makeRuntime<never>()
    const open = new Map<Net.Socket, Connection>()
    const idle = yield* Deferred.make<void>()
    let stopped = false
    const finishIfIdle = () => {
      if (stopped && open.size === 0) Deferred.unsafeDone(idle, Effect.void)
    }
    const labels = yield* Effect.metricLabels
    server.on("connection", (socket) => {
      open.set(socket, { unanswered: new Set(), upgraded: false, bytesAnswered: 0 })
      Metrics.connections.unsafeModify(1, labels)
      socket.once("close", () => {
        open.delete(socket)
        Metrics.connections.unsafeModify(-1, labels)
        finishIfIdle()
      })
    })
    const expectAnswer = (request: Http.IncomingMessage, response: Http.ServerResponse) => {
      const { socket } = request
      const connection = open.get(socket)
      if (connection === undefined) return
      connection.unanswered.add(response)
      response.on("close", () => {
        connection.unanswered.delete(response)
        // Answered early, and still being sent: in flight, as far as its client is concerned.
        if (!request.complete) return
        connection.bytesAnswered = socket.bytesRead
        // Once nothing more is accepted, a connection whose requests are answered has no further use.
        if (stopped && connection.unanswered.size === 0) socket.destroySoon()
      })
    }
    /**
     * Node's own server closes what it takes for idle, and takes for idle an answer that has ended and is still being sent.
     */
    const closeIdle = () => {
      for (const [socket, { bytesAnswered, unanswered, upgraded }] of open) {
        for (const response of unanswered) response.shouldKeepAlive = false
        if (upgraded || unanswered.size > 0) continue
        if (socket.bytesRead === 0) {
          // Accepted just now: its request may be on the way. Two waits: when the loop was held up, the first one ends
          // before anything that has arrived meanwhile is read.
          run(
            Effect.sleep(firstRequestGrace).pipe(
              Effect.zipRight(Effect.sleep(Duration.millis(1))),
              Effect.map(() => socket.bytesRead === 0 && socket.destroySoon())
            )
          )
        } else if (socket.bytesRead === bytesAnswered) {
          socket.destroySoon()
        }
      }
    }

    // -----------------------------------------------------------------------
    // the control socket
    // -----------------------------------------------------------------------

    const wss = new WS.WebSocketServer({ noServer: true, maxPayload: routes.control.maxFrameBytes })
    const silent = new WeakSet<WS.WebSocket>()

    const close = (ws: WS.WebSocket, code: number, reason: string) => {
      ws.close(code, reason)
      run(Effect.delay(Effect.sync(() => ws.terminate()), closeTimeoutMillis))
    }
    const reply = (ws: WS.WebSocket, reply: ControlReply) => {
      for (const frame of reply.send) send(ws, frame)
      if (reply.close !== undefined) close(ws, reply.close.code, reply.close.reason)
    }
    const converse = (ws: WS.WebSocket) => {
      // ws has closed with the fitting code already (1007 for bad UTF-8, 1009 for an oversized frame).
      ws.on("error", () => ws.terminate())
      ws.on("pong", () => silent.delete(ws))
      ws.on("message", (data, isBinary) => {
        if (ws.readyState !== WS.WebSocket.OPEN) return
        reply(ws, routes.control.answer(isBinary ? { _tag: "Binary" } : { _tag: "Text", text: data.toString() }))
      })
      run(Effect.map(routes.control.hello, (frame) => send(ws, frame)))
    }
    yield* Effect.sync(() => {
      for (const ws of wss.clients) {
        if (silent.has(ws)) ws.terminate()
        else {
          silent.add(ws)
          ws.ping()
        }
      }
    }).pipe(Effect.schedule(Schedule.spaced(pingInterval)), Effect.interruptible, Effect.forkScoped)

    // -----------------------------------------------------------------------
    // the gateway's own routes, before any app's
    // -----------------------------------------------------------------------

    // Asked every few seconds by whoever watches: a span for each would hide all others.
    const ownHandler = yield* HttpMiddleware.withTracerDisabledWhenEffect(
      NodeHttpServer.makeHandler(routes.app),
      constTrue
    )
    // Node takes an upgrade for a plain request as long as nobody listens for upgrades.
    server.on("upgrade", () => {})
    server.intercept((event, args) => {
      const request = args[0]
      if (event === "request") {
        const response = args[1]
        if (!(request instanceof Http.IncomingMessage) || !(response instanceof Http.ServerResponse)) return false
        if (stopped) response.shouldKeepAlive = false
        expectAnswer(request, response)
        if (!routes.owns(pathOf(request)) && server.listenerCount("request") > 0) return false
        ownHandler(request, response)
        return true
      }
      if (event === "upgrade") {
        const [, socket, head] = args
        if (
          !(request instanceof Http.IncomingMessage) || !(socket instanceof Duplex) || !Buffer.isBuffer(head)
        ) return false
        // The server stops looking after an upgraded socket's errors.
        socket.on("error", () => socket.destroy())
        const connection = open.get(request.socket)
        if (connection !== undefined) connection.upgraded = true
        if (stopped) {
          socket.destroy()
          return true
        }
        if (pathOf(request) === routes.control.path) {
          wss.handleUpgrade(request, socket, head, converse)
          return true
        }
        if (server.listenerCount("upgrade") === 1) {
          socket.end("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
          return true
        }
      }
      return false
    })

    // -----------------------------------------------------------------------
    // binding
    // -----------------------------------------------------------------------

    const listenOn: Net.ListenOptions & { readonly fd?: number } = options.passedSocket === undefined
      ? { ...asked, exclusive: true }
      : { fd: options.passedSocket }
    // Uninterruptible: between listen() and "listening", a server cannot be closed.
    const inner = yield* NodeHttpServer.make(() => server, listenOn).pipe(
      Effect.mapError((error) => bindError(asked, error.cause)),
      Effect.uninterruptible
    )
    const bound = server.address()
    const address: Address = typeof bound === "object" && bound !== null
      ? { host: bound.address, port: bound.port }
      : asked
    if (options.passedSocket !== undefined && (address.port !== asked.port || !names(address.host, asked.host))) {
      return yield* new BindError({
        ...asked,
        code: "EADDRMISMATCH",
        reason: `the passed socket listens on ${
          toUrl(address)
        }; make the socket unit's ListenStream= and our host and port agree`
      })
    }

    // Without a listener, an error of the running server (EMFILE on accept) would end the process.
    const errors = yield* Queue.unbounded<Error>()
    const report = (error: Error) => {
      Queue.unsafeOffer(errors, error)
    }
    server.on("error", report)
    yield* Queue.take(errors).pipe(
      Effect.flatMap((error) => Effect.logError(`gateway listener: ${error.message}`)),
      Effect.forever,
      Effect.interruptible,
      Effect.forkScoped
    )

    const others: Array<Net.Server> = []
    const alsoBind = (host: string) =>
      Effect.acquireRelease(
        Effect.async<Net.Server, BindError>((resume) => {
          const other = Net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
            server.emit("connection", socket)
          })
          other.maxConnections = limits.maxConnections
          other.once("error", (cause) => resume(bindError({ host, port: address.port }, cause)))
          other.listen({ host, port: address.port, exclusive: true }, () => {
            other.removeAllListeners("error").on("error", report)
            resume(Effect.succeed(other))
          })
        }),
        (other) =>
          Effect.async<void>((resume) => {
            other.close(() => resume(Effect.void))
          })
      ).pipe(Effect.map((other) => {
        others.push(other)
      }))

    // -----------------------------------------------------------------------
    // shutdown
    // -----------------------------------------------------------------------

    const destroyConnections = Effect.sync(() => {
      for (const ws of wss.clients) ws.terminate()
      for (const socket of open.keys()) socket.destroy()
    })
    // Runs before the finalizers above close the servers, which wait for their connections.
    yield* Effect.addFinalizer(() =>
      Effect.zipRight(
        destroyConnections,
        // Ends the timer that checks for slow requests, which Net.Server's own close does not know of.
        Effect.sync(() => server.close(() => {}))
      )
    )

    return {
      address,
      server: inner,
      alsoBind: (host) => alsoBind(host).pipe(Effect.tap(() => Effect.addFinalizer(() => destroyConnections))),
      stopAccepting: Effect.sync(() => {
        stopped = true
        for (const other of others) other.close()
        if (server.listening) Net.Server.prototype.close.call(server)
        closeIdle()
        finishIfIdle()
      }),
      closeControlSockets: (frame, code, reason) =>
        Effect.sync(() => {
          for (const ws of wss.clients) {
            if (ws.readyState !== WS.WebSocket.OPEN) continue
            send(ws, frame)
            ws.close(code, reason)
          }
        }),
      connections: Effect.sync(() => open.size),
      idle: Deferred.await(idle),
      destroyConnections
    }
  })

/**
 * The operating system's sockets.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<ServerSocket> = Layer.succeed(ServerSocket, ServerSocket.of({ bind }))
