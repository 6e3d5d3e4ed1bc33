/**
 * `ServerSocket` over `node:http` and `ws`.
 *
 * @since 0.1.0
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpServer from "@effect/platform/HttpServer"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import { constTrue } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import * as Net from "node:net"
import { networkInterfaces } from "node:os"
import type { Duplex } from "node:stream"
import * as WS from "ws"
import { type Address, isLoopback, isWildcard, toUrl } from "../../Address.ts"
import { hasLoopbackV4 } from "../../host/ProbeTransport.ts"
import { codeOf } from "../../internal/errno.ts"
import { watchPath, watchSubprotocol } from "../../probe/OwnerWatch.ts"
import * as Metrics from "../../telemetry/Metrics.ts"
import * as Access from "../Access.ts"
import * as AccessToken from "../AccessToken.ts"
import { longestTimer } from "../ListenerOptions.ts"
import {
  BindError,
  type BindOptions,
  type BoundSocket,
  type ConnectionLimits,
  type ControlReply,
  ownAnswerHeaders,
  ServerSocket
} from "../ServerSocket.ts"
import * as AppUpgrades from "./AppUpgrades.ts"
import * as FrameHeads from "./FrameHeads.ts"
import * as PassedSocket from "./PassedSocket.ts"
import * as TokenBucket from "./TokenBucket.ts"
import * as UpgradeRequests from "./UpgradeRequests.ts"

/** How often connections are checked against the header and request timeouts. */
const checkingInterval = Duration.seconds(1)

/** How often a control socket must show that its peer still is there. */
const pingInterval = Duration.seconds(30)

/** While shutting down, how long a connection that has just been accepted may take to send something. */
const firstRequestGrace = Duration.seconds(1)

/** After a close frame of ours, how long the peer may take to answer it while the gateway runs. */
const closeTimeoutMillis = 5_000

/** Clients that wait for our end, without a token, at one time. A count of their own: they keep no other client out. */
const maxWatchers = 100

/** RFC 6455, 7.4.1. */
const closeCode = { policyViolation: 1008, internalError: 1011 } as const

/** Fragments of one message. Each stays in memory until the last one, and a browser sends none. */
const maxFragments = 64

/** Pieces in which one frame may arrive: TCP segments are larger than 256 bytes. Each piece costs some 200 bytes of its own. */
const maxBufferedChunks = (maxFrameBytes: number): number => 16 + Math.ceil(maxFrameBytes / 256)

/** A watcher answers pings and closes, and sends nothing else (RFC 6455, 5.5). */
const watcherOpcodes: ReadonlySet<number> = new Set([0x8, 0xa])

/** What a shutdown must know of a connection. */
interface Connection {
  /** In the order of their requests. Those in front may be answered by now: `unansweredOf` leaves these out. */
  readonly responses: Array<Http.ServerResponse>
  /** The last of them, also once it has been answered. */
  latest: Http.ServerResponse | undefined
  readonly judge: (head: Access.Head) => Access.Verdict
  /** What had been sent when it was upgraded, in bytes. */
  writtenBeforeUpgrade: number
  /** By whom what happens is seen: a shutdown does not wait for it. */
  viewing: boolean
  /** One of its requests was refused: what it sends after that is not looked at. */
  refused: boolean
}

/**
 * The requests of a connection that wait for their answers, or for the rest of these to be sent. Looked up when somebody
 * asks: to be told of each answer's end costs a busy server as much as all else that is done here for a request.
 */
const unansweredOf = ({ responses }: Connection): ReadonlyArray<Http.ServerResponse> => {
  while (responses[0]?.closed === true) responses.shift()
  return responses
}

/** What is judged of a request, read as far as it is looked at: most of it is not, from the second request of a connection on. */
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

/**
 * An HTTP server that can drop a connection before anything listens to it. Requests and upgrades go through `http.Server`'s own
 * `emit`, which monitoring agents patch to see them.
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

/** What `NodeHttpServer` registers for an app. Called with what Node hands to listeners. */
type AppListener = (...args: ReadonlyArray<unknown>) => void

/** The listeners that an effect adds to a server, taken off it again. */
const takeListeners = <A, E, R>(server: Http.Server, event: string, adding: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const before = new Set(server.listeners(event))
    return Effect.map(adding, (): ReadonlyArray<AppListener> => {
      const added = server.listeners(event).filter((listener) => !before.has(listener))
      for (const listener of added) Reflect.apply(server.off, server, [event, listener])
      return added.map((listener) => (...args) => Reflect.apply(listener, server, args))
    })
  })

/** An app that is served: what answers its requests, those that may show a token in a header, and its upgrades. */
interface ServedApp {
  readonly request: (request: Http.IncomingMessage, response: Http.ServerResponse) => void
  readonly requestWithToken: ReadonlyArray<AppListener>
  readonly upgrade: ReadonlyArray<AppListener>
}

/** Whole milliseconds, as Node wants them. 0 is no limit. */
const timerMillis = (duration: Duration.Duration): number =>
  Math.ceil(Duration.toMillis(Duration.min(duration, longestTimer)))

/** Node refuses a time for the headers that is longer than the one for the whole request, of which they are a part. */
const headersMillis = ({ headersTimeout, requestTimeout }: ConnectionLimits): number => {
  const [headers, request] = [timerMillis(headersTimeout), timerMillis(requestTimeout)]
  return request === 0 ? headers : Math.min(headers, request)
}

/** The addresses of this network namespace's interfaces, loopback first; `undefined` where they cannot be had (Node throws). */
const localAddresses = (): ReadonlyArray<string> | undefined => {
  try {
    return [
      ...new Set(Object.values(networkInterfaces()).flatMap((entries = []) => entries.map(({ address }) => address)))
    ]
      .toSorted((a, b) => Number(isLoopback(b)) - Number(isLoopback(a)))
  } catch {
    return undefined
  }
}

const bindError = (address: Address, cause: unknown) => {
  const code = codeOf(cause)
  const available = code === "EADDRNOTAVAIL" ? localAddresses() : undefined
  return new BindError({
    ...address,
    code,
    reason: cause instanceof Error ? cause.message : String(cause),
    ...(available === undefined ? {} : { available }),
    cause
  })
}

/** Whether a socket's own address is what a host asks for. */
const names = (bound: string, host: string): boolean =>
  bound === host || (host === "localhost" && isLoopback(bound)) || (isWildcard(bound) && isWildcard(host))

const pathOf = (request: Http.IncomingMessage): string => {
  const url = request.url ?? ""
  const end = url.indexOf("?")
  return end === -1 ? url : url.slice(0, end)
}

type AnswerHeaders = Readonly<Record<string, string>>

/** An answer of our own that ends the connection: what else was sent on it is nobody's business any more. */
const answerHead = (body: string, headers: AnswerHeaders): AnswerHeaders => ({
  ...ownAnswerHeaders,
  ...headers,
  connection: "close",
  "content-type": "text/plain; charset=utf-8",
  "content-length": String(Buffer.byteLength(body))
})

const lineOf = (reason: string): string => `${reason}\n`

const refuseRequest = (response: Http.ServerResponse, status: number, reason: string, headers: AnswerHeaders = {}) => {
  const body = lineOf(reason)
  response.shouldKeepAlive = false
  response.writeHead(status, answerHead(body, headers))
  response.end(body)
}

/** Where there is no response to write to: of an upgrade, or of what could not be read as a request. */
const refuseRaw = (socket: Duplex, status: number, reason: string, headers: AnswerHeaders = {}) => {
  const body = lineOf(reason)
  const lines = Object.entries(answerHead(body, headers)).map(([name, value]) => `${name}: ${value}\r\n`)
  // A client that does not close its side would keep the connection for ever.
  socket.once("finish", () => socket.destroy())
  socket.end(`HTTP/1.1 ${status} ${Http.STATUS_CODES[status] ?? ""}\r\n${lines.join("")}\r\n${body}`)
}

/** What became of a request that could not be read, by Node's and llhttp's own words. */
const unreadable = (code: string): readonly [status: number, reason: string] => {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return [431, "the headers are too large"]
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return [413, "a chunk's extensions are too large"]
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return [408, "the request took too long"]
    default:
      return [400, "this is no HTTP request"]
  }
}

/** Between two of them the event loop polls once: a connection is accepted in one poll, and its request read in the next. */
const backlogTurns = 4

/**
 * Lets the event loop take what the kernel holds for it: a client that has connected before a shutdown began would see its
 * connection reset when the listening socket is closed, and its request, which was sent before, refused.
 */
const takeBacklog = Effect.async<void>((resume) => {
  const turn = (left: number) => {
    if (left === 0) resume(Effect.void)
    else setImmediate(turn, left - 1)
  }
  turn(backlogTurns)
})

const needsToken = { "www-authenticate": "Bearer" } as const

const bind = (options: BindOptions): Effect.Effect<BoundSocket, BindError, Scope.Scope> =>
  Effect.gen(function*() {
    const { address: asked, limits, routes } = options
    const server = new DroppingServer({
      IncomingMessage: UpgradeRequests.UpgradeRequest,
      maxHeaderSize: limits.maxHeaderBytes,
      // Refused below, in the same way as any other that is not ours.
      requireHostHeader: false,
      headersTimeout: headersMillis(limits),
      requestTimeout: timerMillis(limits.requestTimeout),
      keepAliveTimeout: timerMillis(limits.keepAliveTimeout),
      connectionsCheckingInterval: timerMillis(checkingInterval)
    })
    server.maxConnections = limits.maxConnections

    // -----------------------------------------------------------------------
    // connections: counted, so that a drain knows when to end and what to cut
    // -----------------------------------------------------------------------

    const run = yield* FiberSet.makeRuntime<never>()
    const clock = yield* Effect.clock
    const open = new Map<Net.Socket, Connection>()
    const idle = yield* Deferred.make<void>()
    /** No upgrade is accepted any more. */
    let stopping = false
    /** Nothing is accepted any more. */
    let stopped = false
    let viewing = 0
    const countPending = () => open.size - viewing
    const pending = Effect.sync(countPending)
    const finishIfIdle = () => {
      if (stopped && countPending() === 0) Deferred.unsafeDone(idle, Effect.void)
    }
    const labels = yield* Effect.metricLabels
    server.on("connection", (socket) => {
      const connection: Connection = {
        responses: [],
        latest: undefined,
        judge: Access.judging(options.rules),
        writtenBeforeUpgrade: 0,
        viewing: false,
        refused: false
      }
      open.set(socket, connection)
      Metrics.connections.unsafeModify(1, labels)
      socket.once("close", () => {
        open.delete(socket)
        Metrics.connections.unsafeModify(-1, labels)
        if (connection.viewing) viewing -= 1
        finishIfIdle()
      })
    })
    const connections = Effect.sync(() => open.size)
    /** Those that are served now. The last one answers. */
    const apps: Array<ServedApp> = []
    /** Nothing more is accepted: once its requests are answered, a connection has no further use. */
    const closeAfter = (response: Http.ServerResponse) => {
      response.shouldKeepAlive = false
      response.on("close", () => {
        const { complete, socket } = response.req
        const connection = open.get(socket)
        // Answered early, and still being sent: in flight, as far as its client is concerned.
        if (complete && connection !== undefined && unansweredOf(connection).length === 0) socket.destroySoon()
      })
    }
    const closeIdle = () => {
      const ended: Array<Http.ServerResponse> = []
      for (const [socket, connection] of open) {
        for (const response of unansweredOf(connection)) {
          closeAfter(response)
          if (response.writableEnded) ended.push(response)
        }
        if (socket.bytesRead > 0) continue
        // Accepted just now: its request may be on the way. Two waits: when the loop was held up, the first one ends
        // before anything that has arrived meanwhile is read.
        run(
          Effect.sleep(firstRequestGrace).pipe(
            Effect.zipRight(Effect.sleep(Duration.millis(1))),
            Effect.map(() => socket.bytesRead === 0 && socket.destroySoon())
          )
        )
      }
      // Node knows who has begun to ask. But it takes an answer for sent as soon as it has ended, and tells that by `finished`.
      for (const response of ended) response.finished = false
      server.closeIdleConnections()
      for (const response of ended) response.finished = true
    }

    // -----------------------------------------------------------------------
    // the control socket
    // -----------------------------------------------------------------------

    const wss = new WS.WebSocketServer({
      noServer: true,
      maxPayload: limits.maxFrameBytes,
      maxFragments,
      maxBufferedChunks: maxBufferedChunks(limits.maxFrameBytes),
      // Never one that carries a token.
      handleProtocols: (names) =>
        names.has(AccessToken.subprotocol)
          ? AccessToken.subprotocol
          : [...names].find((name) => !name.startsWith(AccessToken.subprotocolPrefix)) ?? false
    })
    wss.on("wsClientError", (error, socket) => refuseRaw(socket, 400, error.message, { "sec-websocket-version": "13" }))
    const silent = new WeakSet<WS.WebSocket>()
    const watchers = new Set<WS.WebSocket>()
    const hasToken = options.token === undefined ? () => true : AccessToken.matcher(options.token)

    const send = (ws: WS.WebSocket, frame: string) => {
      if (ws.readyState !== WS.WebSocket.OPEN) return
      if (ws.bufferedAmount > limits.maxBufferedBytes) ws.terminate()
      else ws.send(frame)
    }

    /** Does nothing the second time: a socket has one closing timer. */
    const close = (ws: WS.WebSocket, code: number, reason: string) => {
      if (ws.readyState !== WS.WebSocket.OPEN) return
      ws.close(code, reason)
      const timer = run(Effect.delay(Effect.sync(() => ws.terminate()), closeTimeoutMillis))
      ws.once("close", () => run(Fiber.interruptFork(timer)))
    }
    const failed = (ws: WS.WebSocket, cause: Cause.Cause<unknown>) => {
      run(Effect.logError("a control socket failed, and is closed with 1011", cause))
      close(ws, closeCode.internalError, "internal error")
    }
    /** A listener of a control socket: what it throws would be an uncaught exception, which ends the process. */
    const guarded = <Args extends ReadonlyArray<unknown>>(ws: WS.WebSocket, listener: (...args: Args) => void) => {
      return (...args: Args) => {
        try {
          listener(...args)
        } catch (error) {
          failed(ws, Cause.die(error))
        }
      }
    }
    const runFor = (ws: WS.WebSocket, effect: Effect.Effect<void>) =>
      run(Effect.onExit(effect, (exit) =>
        Exit.isFailure(exit) && !Cause.isInterruptedOnly(exit.cause)
          ? Effect.sync(() => failed(ws, exit.cause))
          : Effect.void))

    const viewers = new Map<WS.WebSocket, Fiber.Fiber<unknown>>()
    const view = (ws: WS.WebSocket, connection: Connection) => {
      if (connection.viewing) return
      connection.viewing = true
      viewing += 1
      const push = (frame: string) => Effect.sync(() => send(ws, frame))
      const fiber = runFor(ws, Effect.suspend(() => routes.control.watch({ push, connections, pending })))
      viewers.set(ws, fiber)
      ws.once("close", () => {
        viewers.delete(ws)
        run(Fiber.interruptFork(fiber))
      })
    }
    let isHinted = false
    const reply = (ws: WS.WebSocket, connection: Connection | undefined, reply: ControlReply) => {
      for (const frame of reply.send) send(ws, frame)
      if (reply.watch === true && connection !== undefined) view(ws, connection)
      if (reply.close === undefined) return
      close(ws, reply.close.code, reply.close.reason)
      // Once: it may be a client of an app that expects a WebSocket of its own there.
      if (isHinted || apps.length === 0) return
      isHinted = true
      run(Effect.logInfo(
        `a client of the control socket at ${
          Option.getOrElse(routes.control.path, () => watchPath)
        } spoke another protocol: `
          + `closed with ${reply.close.code}, ${reply.close.reason}`
      ))
    }
    /** Handles nothing more of a socket, whatever it still sends. */
    const cutOff = (ws: WS.WebSocket, socket: Duplex, reason: string) => {
      close(ws, closeCode.policyViolation, reason)
      socket.removeAllListeners("data")
      socket.resume()
      socket.end()
    }
    /** Every frame is counted before ws reads it. `refusal` is why a frame of an opcode is not allowed. */
    const attend = (ws: WS.WebSocket, socket: Duplex, refusal: (opcode: number) => string | undefined) => {
      let position = FrameHeads.start
      let bucket = TokenBucket.make(limits.maxFramesPerSecond, clock.unsafeCurrentTimeNanos())
      socket.prependListener(
        "data",
        guarded(ws, (chunk: Buffer) => {
          const read = FrameHeads.advance(position, chunk)
          position = read.position
          const now = clock.unsafeCurrentTimeNanos()
          for (const opcode of read.opcodes) {
            const next = TokenBucket.take(bucket, limits.maxFramesPerSecond, now)
            const why = Option.isNone(next) ? "too many frames in a second" : refusal(opcode)
            if (why !== undefined) return cutOff(ws, socket, why)
            bucket = Option.getOrElse(next, () => bucket)
          }
        })
      )
      // ws has closed with the fitting code already (1007 for bad UTF-8, 1009 for an oversized frame).
      ws.on("error", () => ws.terminate())
      ws.on("pong", () => silent.delete(ws))
    }
    const converse = (ws: WS.WebSocket, socket: Duplex, connection: Connection | undefined) => {
      attend(ws, socket, () => undefined)
      ws.on(
        "message",
        guarded(ws, (data: WS.RawData, isBinary: boolean) => {
          if (ws.readyState !== WS.WebSocket.OPEN) return
          reply(
            ws,
            connection,
            routes.control.answer(isBinary ? { _tag: "Binary" } : { _tag: "Text", text: data.toString() })
          )
        })
      )
      runFor(ws, Effect.map(routes.control.hello, (frame) => send(ws, frame)))
    }
    const watch = (ws: WS.WebSocket, socket: Duplex) => {
      watchers.add(ws)
      ws.once("close", () => watchers.delete(ws))
      attend(ws, socket, (opcode) => watcherOpcodes.has(opcode) ? undefined : "a watcher has nothing to say")
      // It has nothing to lose: once it is told why, it does not keep its place any longer.
      socket.once("finish", () => ws.terminate())
    }
    const openControlSocket = (
      request: Http.IncomingMessage,
      socket: Duplex,
      head: Buffer,
      connection: Connection | undefined,
      watches: boolean
    ) => {
      if (!watches && !hasToken(request.headers)) return refuseRaw(socket, 401, "a token is needed", needsToken)
      const isFull = watches
        ? watchers.size >= maxWatchers
        : wss.clients.size - watchers.size >= limits.maxControlSockets
      if (isFull) return refuseRaw(socket, 503, "too many control sockets")
      wss.handleUpgrade(request, socket, head, (ws) => {
        const begin = guarded(ws, watches ? watch : converse)
        begin(ws, socket, connection)
      })
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

    /**
     * Answers a request that cannot be read, behind those before it, as Node does where no listener is registered
     * (`socketOnError` in lib/_http_server.js): on the socket, so that an app that answers later writes to a closed one.
     */
    const breakOff = (socket: Net.Socket, connection: Connection, status: number, reason: string) => {
      connection.refused = true
      const { latest } = connection
      // An app has it already, whole but for the rest of its body.
      const broken = latest?.req.complete === false ? latest : undefined
      const before = unansweredOf(connection).filter((response) => response !== broken).at(-1)
      const answer = () => {
        if (!socket.writable) return
        if (broken?.headersSent !== true) return refuseRaw(socket, status, reason)
        // What is being sent cannot be followed by something else.
        if (broken.writableEnded && !broken.closed) broken.once("close", () => socket.destroySoon())
        else socket.destroy()
      }
      if (before === undefined) answer()
      else before.once("close", answer)
    }
    server.on("clientError", (error, socket) => {
      const connection = socket instanceof Net.Socket ? open.get(socket) : undefined
      if (!(socket instanceof Net.Socket) || !socket.writable || connection === undefined) return socket.destroy()
      if (!connection.refused) breakOff(socket, connection, ...unreadable(codeOf(error)))
    })

    // Asked every few seconds by whoever watches: a span for each would hide all others.
    const ownHandler = yield* HttpMiddleware.withTracerDisabledWhenEffect(
      NodeHttpServer.makeHandler(routes.app),
      constTrue
    )
    /** Whether the app has as many requests of a connection to answer as it may have. */
    const isFull = (connection: Connection) => {
      const unanswered = unansweredOf(connection)
      return unanswered.length >= limits.maxPipelinedRequests
        && unanswered.filter((response) => !response.writableEnded).length >= limits.maxPipelinedRequests
    }
    const answerRequest = (request: Http.IncomingMessage, response: Http.ServerResponse) => {
      const connection = open.get(request.socket)
      // It has ended already.
      if (connection === undefined || connection.refused) return
      if (isFull(connection)) return request.socket.destroy()
      UpgradeRequests.keepRest(request)
      connection.responses.push(response)
      connection.latest = response
      if (stopped) closeAfter(response)
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
    const answerUpgrade = (request: Http.IncomingMessage, socket: Duplex, head: Buffer) => {
      // The server stops looking after an upgraded socket's errors.
      socket.on("error", () => socket.destroy())
      const connection = open.get(request.socket)
      if (connection !== undefined) connection.writtenBeforeUpgrade = request.socket.bytesWritten
      if (stopping || connection === undefined || connection.refused) return socket.destroy()
      const verdict = connection.judge(new RequestHead(request, true, routes.owns(pathOf(request))))
      if (verdict._tag === "Refused") return refuseRaw(socket, verdict.status, verdict.reason)
      UpgradeRequests.offerOnlyWebSocket(request)
      const path = pathOf(request)
      const isControl = Option.contains(routes.control.path, path)
      const watches = (isControl || path === watchPath)
        && AccessToken.offered(request.headers["sec-websocket-protocol"]).includes(watchSubprotocol)
      if (isControl || watches) return openControlSocket(request, socket, head, connection, watches)
      const app = apps.at(-1)
      if (app === undefined) return refuseRaw(socket, 503, "starting")
      for (const listener of app.upgrade) listener(request, socket, head)
    }
    const logThrown = (error: unknown) =>
      run(Effect.logError("a connection or request failed before it was answered", Cause.die(error)))
    server.dropIf(() => open.size >= limits.maxConnections)
    // What a listener throws would be an uncaught exception, which ends the process.
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
        if (request.socket.bytesWritten === open.get(request.socket)?.writtenBeforeUpgrade) {
          return refuseRaw(socket, 500, "internal error")
        }
        // A part of another answer has been sent, which nothing can follow.
        socket.destroy()
      }
    })

    // -----------------------------------------------------------------------
    // binding
    // -----------------------------------------------------------------------

    const passed = options.passedSocket
    const refuse = (fault: PassedSocket.Fault) => new BindError({ ...asked, ...fault })
    const seen = passed === undefined ? undefined : PassedSocket.inspect(passed, asked)
    if (seen?.fault !== undefined) return yield* refuse(seen.fault)
    const listenOn: Net.ListenOptions & { readonly fd?: number } = passed === undefined
      ? { ...asked, exclusive: true }
      : { fd: passed }
    // Uninterruptible: between listen() and "listening", a server cannot be closed.
    const inner = yield* NodeHttpServer.make(() => server, listenOn).pipe(
      Effect.mapError((error) => {
        const failed = bindError(asked, error.cause)
        return passed === undefined || failed.code !== "EINVAL"
          ? failed
          : refuse(PassedSocket.notListenable(passed, asked, failed.reason))
      }),
      Effect.catchAllDefect((defect) =>
        // It reads the port of an address that a Unix socket does not have.
        passed !== undefined && server.listening && server.address() === null
          ? Effect.fail(refuse(PassedSocket.notTcp(passed, asked)))
          : Effect.die(defect)
      ),
      Effect.uninterruptible
    )
    const late = passed !== undefined && seen?.isUnlisted === true
      ? PassedSocket.startedToListen(passed, asked)
      : undefined
    if (late !== undefined) return yield* refuse(late)
    const bound = server.address()
    const address: Address = typeof bound === "object" && bound !== null
      ? { host: bound.address, port: bound.port }
      : asked
    if (passed !== undefined && (address.port !== asked.port || !names(address.host, asked.host))) {
      return yield* new BindError({
        ...asked,
        code: "EADDRMISMATCH",
        reason: `the passed socket listens on ${
          toUrl(address)
        }; make the socket unit's ListenStream= and our host and port agree`
      })
    }

    const serving = HttpServer.make({
      address: inner.address,
      serve: (app, middleware) =>
        Effect.gen(function*() {
          // What upgrades need would cost each plain request some of its time; even a reference that was set back does.
          const request = yield* middleware === undefined
            ? NodeHttpServer.makeHandler(app)
            : NodeHttpServer.makeHandler(app, middleware)
          const closing = AppUpgrades.withClosingSockets(options.drainBegan)
          const registering = AppUpgrades.withoutToken(
            middleware === undefined
              ? inner.serve(closing(app))
              : inner.serve(app, (handled) => closing(middleware(handled)))
          )
          const requestWithToken: Array<AppListener> = []
          const upgrade = yield* takeListeners(
            server,
            "upgrade",
            Effect.map(takeListeners(server, "request", registering), (taken) => requestWithToken.push(...taken))
          )
          yield* Effect.acquireRelease(
            Effect.sync(() => {
              const served: ServedApp = { request, requestWithToken, upgrade }
              apps.push(served)
              return served
            }),
            (served) => Effect.sync(() => apps.splice(apps.indexOf(served), 1))
          )
        }).pipe(Effect.uninterruptible)
    })

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
      for (const ws of wss.clients) if (!viewers.has(ws)) ws.terminate()
      for (const [socket, connection] of open) if (!connection.viewing) socket.destroy()
    })
    const destroyAll = Effect.zipRight(
      destroyConnections,
      Effect.sync(() => {
        for (const ws of viewers.keys()) ws.terminate()
      })
    )
    // Runs before the finalizers above close the servers, which wait for their connections.
    yield* Effect.addFinalizer(() =>
      Effect.zipRight(
        destroyAll,
        // Ends the timer that checks for slow requests, which Net.Server's own close does not know of.
        Effect.sync(() => server.close(() => {}))
      )
    )

    return {
      address,
      server: serving,
      lacksLoopbackV4: !hasLoopbackV4(),
      alsoBind: (host) => alsoBind(host).pipe(Effect.tap(() => Effect.addFinalizer(() => destroyAll))),
      stopAccepting: Effect.map(Effect.zipRight(Effect.sync(() => stopping = true), takeBacklog), () => {
        stopped = true
        for (const other of others) other.close()
        if (server.listening) Net.Server.prototype.close.call(server)
        closeIdle()
        finishIfIdle()
      }),
      closeControlSockets: (frame, code, reason) =>
        Effect.sync(() => {
          for (const ws of wss.clients) {
            if (ws.readyState !== WS.WebSocket.OPEN || viewers.has(ws)) continue
            send(ws, frame)
            ws.close(code, reason)
          }
        }),
      dismissViewers: (frame, code, reason) =>
        Effect.forEach([...viewers], ([ws, fiber]) =>
          Effect.zipRight(
            Fiber.interrupt(fiber),
            Effect.async<void>((resume) => {
              if (!viewers.has(ws)) return resume(Effect.void)
              ws.once("close", () => resume(Effect.void))
              if (ws.readyState !== WS.WebSocket.OPEN) return
              send(ws, frame)
              ws.close(code, reason)
            })
          ), { concurrency: "unbounded", discard: true }),
      connections,
      pending,
      idle: Deferred.await(idle),
      destroyConnections
    }
  })

/**
 * The operating system's sockets, bound exclusively (no `SO_REUSEPORT`). Part of `Gateway.layerNode`.
 *
 * @example
 * import { NodeContext } from "@effect/platform-node"
 * import { Layer } from "effect"
 * import { Gateway, KernelLock, NodeServerSocket, PlatformFolders, ProbeTransport, ProcessTable } from "gateway-lock"
 *
 * // The real machine, but for its locks: how an app fares on a disk that has none.
 * const Machine = Layer.mergeAll(
 *   KernelLock.layerAbsent("tried without"),
 *   ProcessTable.layerLive,
 *   ProbeTransport.layerLive,
 *   NodeServerSocket.layer,
 *   PlatformFolders.layerLive
 * ).pipe(Layer.provideMerge(NodeContext.layer))
 *
 * const Main = Gateway.layerPlatform({ port: 18789 }).pipe(Layer.provide(Machine))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<ServerSocket> = Layer.succeed(ServerSocket, ServerSocket.of({ bind }))
