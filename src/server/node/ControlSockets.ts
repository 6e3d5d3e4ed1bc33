/**
 * The control sockets: the WebSockets that the gateway itself answers. On most of them, the gateway answers JSON messages (the
 * control protocol). A viewer is a client of that protocol that has sent `watch`, to receive every change of the gateway's state.
 * A watcher is another process that waits until this gateway ends, to start in its place (`OwnerWatch`).
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Http from "node:http"
import type { Duplex } from "node:stream"
import * as WS from "ws"
import { watchPath } from "../../probe/OwnerWatch.ts"
import * as AccessToken from "../AccessToken.ts"
import type { BindOptions, ConnectionLimits, ControlReply } from "../ServerSocket.ts"
import type { Connection, ConnectionTable, Run } from "./ConnectionTable.ts"
import * as FrameHeads from "./FrameHeads.ts"
import { needsToken, refuseRaw } from "./Refusals.ts"
import * as TokenBucket from "./TokenBucket.ts"

/**
 * The interval between two pings on each control socket. If a peer has not answered a ping when the next one is due, its socket
 * is ended.
 */
const pingInterval = Duration.seconds(30)

/**
 * How long a peer may take to answer a close frame while the gateway runs. During a drain, the timeout of the drain applies
 * instead.
 */
const closeTimeoutMillis = 5_000

/**
 * The maximum number of watchers. A watcher is the socket of another process, which waits until this gateway ends in order to take
 * over. A watcher needs no token, so any client could open many. Watchers have this limit of their own, so that they cannot use up
 * the limit of the other control sockets.
 */
const maxWatchers = 100

/** Close codes of RFC 6455, 7.4.1. */
const closeCode = { policyViolation: 1008, internalError: 1011 } as const

/**
 * The maximum number of fragments in one message. Such a limit is needed, because each fragment stays in memory until the last one
 * has arrived. The limit does not affect browsers, because they send no fragments.
 */
const maxFragments = 64

/**
 * The maximum number of chunks in which `ws` buffers one frame. Such a limit is needed, because each chunk costs about 200 bytes in
 * addition to its data. The limit is high enough for chunks of 256 bytes, and TCP segments are normally larger than that.
 */
const maxBufferedChunks = (frameBytes: number): number => 16 + Math.ceil(frameBytes / 256)

/** The frames that a watcher (a process that waits until this gateway ends) may send: close and pong (RFC 6455, 5.5). */
const watcherOpcodes: ReadonlySet<number> = new Set([0x8, 0xa])

/** The control sockets of one server. */
export interface ControlSockets {
  /**
   * Opens the control socket of a client, or refuses it. A watcher (a process that waits until this gateway ends) needs no token.
   */
  readonly open: (
    request: Http.IncomingMessage,
    socket: Duplex,
    head: Buffer,
    connection: Connection,
    isWatcher: boolean
  ) => void
  /** Sends a last frame on every socket except those of viewers (clients that have sent `watch`), and closes the socket. */
  readonly close: (frame: string, code: number, reason: string) => void
  /**
   * Sends a last frame on the socket of every viewer (a client that has sent `watch`), and closes the socket. Completes when the
   * viewers have disconnected.
   */
  readonly dismissViewers: (frame: string, code: number, reason: string) => Effect.Effect<void>
  /** Ends every socket except those of viewers (clients that have sent `watch`), without a close frame. */
  readonly terminate: () => void
  /** Ends the sockets of viewers (clients that have sent `watch`), without a close frame. */
  readonly terminateViewers: () => void
}

// ---------------------------------------------------------------------------
// one socket: sending, closing, failures
// ---------------------------------------------------------------------------

/** Actions on one control socket. The functions below share them. */
interface Actions {
  readonly run: Run
  /** Sends a frame. Ends the socket instead if its client reads too slowly. */
  readonly send: (ws: WS.WebSocket, frame: string) => void
  readonly close: (ws: WS.WebSocket, code: number, reason: string) => void
  /**
   * Wraps a listener of a socket, and closes that socket if the listener throws. Otherwise the uncaught exception would end the
   * process.
   */
  readonly closingOnThrow: <Args extends ReadonlyArray<unknown>>(
    ws: WS.WebSocket,
    listener: (...args: Args) => void
  ) => (...args: Args) => void
  /** Runs an effect, and closes the socket if the effect fails. */
  readonly runFor: (ws: WS.WebSocket, effect: Effect.Effect<void>) => Fiber.Fiber<void>
}

const makeActions = (limits: ConnectionLimits, run: Run): Actions => {
  /** A second call for a socket does nothing, so that the socket has only one closing timer. */
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
  return {
    run,
    send: (ws, frame) => {
      if (ws.readyState !== WS.WebSocket.OPEN) return
      if (ws.bufferedAmount > limits.bufferedBytes) ws.terminate()
      else ws.send(frame)
    },
    close,
    closingOnThrow: (ws, listener) => (...args) => {
      try {
        listener(...args)
      } catch (error) {
        failed(ws, Cause.die(error))
      }
    },
    runFor: (ws, effect) =>
      run(Effect.onExit(effect, (exit) =>
        Exit.isFailure(exit) && !Cause.isInterruptedOnly(exit.cause)
          ? Effect.sync(() => failed(ws, exit.cause))
          : Effect.void))
  }
}

// ---------------------------------------------------------------------------
// viewers: clients that have sent `watch`
// ---------------------------------------------------------------------------

/** The sockets of viewers: clients that have sent `watch`, and receive every change of the gateway's state. */
interface Viewers {
  /** Starts to push every change of the gateway's state to the client. A second call for the same client changes nothing. */
  readonly add: (ws: WS.WebSocket, connection: Connection) => void
  readonly has: (ws: WS.WebSocket) => boolean
  readonly dismiss: ControlSockets["dismissViewers"]
  readonly terminate: () => void
}

const makeViewers = (
  { routes }: BindOptions,
  table: ConnectionTable,
  { run, runFor, send }: Actions
): Viewers => {
  const fibers = new Map<WS.WebSocket, Fiber.Fiber<unknown>>()
  return {
    add: (ws, connection) => {
      if (!table.startViewing(connection)) return
      const push = (frame: string) => Effect.sync(() => send(ws, frame))
      const { connections, pending } = table
      const fiber = runFor(ws, Effect.suspend(() => routes.control.watch({ push, connections, pending })))
      fibers.set(ws, fiber)
      ws.once("close", () => {
        fibers.delete(ws)
        run(Fiber.interruptFork(fiber))
      })
    },
    has: (ws) => fibers.has(ws),
    dismiss: (frame, code, reason) =>
      Effect.forEach([...fibers], ([ws, fiber]) =>
        Effect.zipRight(
          Fiber.interrupt(fiber),
          Effect.async<void>((resume) => {
            if (!fibers.has(ws)) return resume(Effect.void)
            ws.once("close", () => resume(Effect.void))
            if (ws.readyState !== WS.WebSocket.OPEN) return
            send(ws, frame)
            ws.close(code, reason)
          })
        ), { concurrency: "unbounded", discard: true }),
    terminate: () => {
      for (const ws of fibers.keys()) ws.terminate()
    }
  }
}

// ---------------------------------------------------------------------------
// limits of a socket: frames per second, and unanswered pings
// ---------------------------------------------------------------------------

/**
 * Enforces the limits of a socket. `refusal` returns the reason why a frame with the given opcode is not allowed, or `undefined`
 * if the frame is allowed.
 */
type EnforceLimits = (ws: WS.WebSocket, socket: Duplex, refusal: (opcode: number) => string | undefined) => void

/** Limits the frames of a socket. Each frame is counted before `ws` reads it, because `ws` does not report every frame. */
const makeFrameLimit = (
  { framesPerSecond }: ConnectionLimits,
  { close, closingOnThrow }: Actions,
  now: () => bigint
): EnforceLimits => {
  /** Closes a socket with 1008, and discards everything that the client sends afterwards. */
  const cutOff = (ws: WS.WebSocket, socket: Duplex, reason: string) => {
    close(ws, closeCode.policyViolation, reason)
    socket.removeAllListeners("data")
    socket.resume()
    socket.end()
  }
  return (ws, socket, refusal) => {
    let position = FrameHeads.start
    let bucket = TokenBucket.make(framesPerSecond, now())
    socket.prependListener(
      "data",
      closingOnThrow(ws, (chunk: Buffer) => {
        const read = FrameHeads.advance(position, chunk)
        position = read.position
        const at = now()
        for (const opcode of read.opcodes) {
          const next = TokenBucket.take(bucket, framesPerSecond, at)
          const why = Option.isNone(next) ? "too many frames in a second" : refusal(opcode)
          if (why !== undefined) return cutOff(ws, socket, why)
          bucket = Option.getOrElse(next, () => bucket)
        }
      })
    )
  }
}

/**
 * Ends a socket that has emitted an error. `ws` has then already sent a close frame with the right code (1007 for bad UTF-8, 1009
 * for an oversized frame), so this listener sends no frame.
 */
const terminate = function(this: WS.WebSocket) {
  this.terminate()
}

/** Pings every socket, and ends those that have not answered the previous ping. */
const pingAll = (wss: WS.WebSocketServer, silent: WeakSet<WS.WebSocket>): Effect.Effect<void> =>
  Effect.sync(() => {
    for (const ws of wss.clients) {
      if (silent.has(ws)) ws.terminate()
      else {
        silent.add(ws)
        ws.ping()
      }
    }
  })

// ---------------------------------------------------------------------------
// the protocols
// ---------------------------------------------------------------------------

/** Registers the listeners of a protocol on an open socket. */
type Protocol = (ws: WS.WebSocket, socket: Duplex, connection: Connection) => void

/** Makes the control protocol, in which the gateway replies to each message. */
const makeControlProtocol = (
  { routes: { control } }: BindOptions,
  { close, closingOnThrow, run, runFor, send }: Actions,
  viewers: Viewers,
  enforceLimits: EnforceLimits,
  isAppServed: () => boolean
): Protocol => {
  let isHinted = false
  const reply = (ws: WS.WebSocket, connection: Connection, reply: ControlReply) => {
    for (const frame of reply.send) send(ws, frame)
    if (reply.watch === true) viewers.add(ws, connection)
    if (reply.close === undefined) return
    close(ws, reply.close.code, reply.close.reason)
    // The client may belong to an app that expects its own WebSocket on this path. So this close is logged as a hint to the
    // operator, but only once for each server.
    if (isHinted || !isAppServed()) return
    isHinted = true
    run(Effect.logInfo(
      `a client of the control socket at ${Option.getOrElse(control.path, () => watchPath)} spoke another protocol: `
        + `closed with ${reply.close.code}, ${reply.close.reason}`
    ))
  }
  return (ws, socket, connection) => {
    enforceLimits(ws, socket, () => undefined)
    ws.on(
      "message",
      closingOnThrow(ws, (data: WS.RawData, isBinary: boolean) => {
        if (ws.readyState !== WS.WebSocket.OPEN) return
        reply(ws, connection, control.answer(isBinary ? { _tag: "Binary" } : { _tag: "Text", text: data.toString() }))
      })
    )
    runFor(ws, Effect.map(control.hello, (frame) => send(ws, frame)))
  }
}

/** Makes the protocol of watchers. A watcher is another process that waits until this gateway ends. It sends no messages. */
const makeWatchProtocol = (watchers: Set<WS.WebSocket>, enforceLimits: EnforceLimits): Protocol => (ws, socket) => {
  watchers.add(ws)
  ws.once("close", () => watchers.delete(ws))
  enforceLimits(ws, socket, (opcode) => watcherOpcodes.has(opcode) ? undefined : "a watcher must not send messages")
  // A watcher that breaks a rule gets a close frame with the reason. Its socket is ended as soon as this frame is sent. Otherwise a
  // watcher that does not close its side of the connection would count towards `maxWatchers` until the close timeout.
  socket.once("finish", () => ws.terminate())
}

const makeWebSocketServer = ({ frameBytes }: ConnectionLimits): WS.WebSocketServer => {
  const wss = new WS.WebSocketServer({
    noServer: true,
    maxPayload: frameBytes,
    maxFragments,
    maxBufferedChunks: maxBufferedChunks(frameBytes),
    // A subprotocol that carries a token is never selected, because the answer contains the selected subprotocol and would show
    // the token.
    handleProtocols: (names) =>
      names.has(AccessToken.subprotocol)
        ? AccessToken.subprotocol
        : [...names].find((name) => !name.startsWith(AccessToken.subprotocolPrefix)) ?? false
  })
  return wss.on(
    "wsClientError",
    (error, socket) => refuseRaw(socket, 400, error.message, { "sec-websocket-version": "13" })
  )
}

/** Makes the control sockets of a server, and starts the fiber that pings them. */
export const make = (
  options: BindOptions,
  table: ConnectionTable,
  isAppServed: () => boolean,
  run: Run
): Effect.Effect<ControlSockets, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { limits } = options
    const clock = yield* Effect.clock
    const wss = makeWebSocketServer(limits)
    const actions = makeActions(limits, run)
    const viewers = makeViewers(options, table, actions)
    const silent = new WeakSet<WS.WebSocket>()
    const watchers = new Set<WS.WebSocket>()
    // One function for all sockets: thousands of them may be idle, and each would keep its own.
    const answered = function(this: WS.WebSocket) {
      silent.delete(this)
    }
    const limitFrames = makeFrameLimit(limits, actions, () => clock.unsafeCurrentTimeNanos())
    const enforceLimits: EnforceLimits = (ws, socket, refusal) => {
      limitFrames(ws, socket, refusal)
      ws.on("error", terminate)
      ws.on("pong", answered)
    }
    const converse = makeControlProtocol(options, actions, viewers, enforceLimits, isAppServed)
    const watch = makeWatchProtocol(watchers, enforceLimits)
    const hasToken = options.token === undefined ? () => true : AccessToken.matcher(options.token)
    yield* pingAll(wss, silent).pipe(
      Effect.schedule(Schedule.spaced(pingInterval)),
      Effect.interruptible,
      Effect.forkScoped
    )

    return {
      open: (request, socket, head, connection, isWatcher) => {
        if (!isWatcher && !hasToken(request.headers)) return refuseRaw(socket, 401, "a token is needed", needsToken)
        const isFull = isWatcher
          ? watchers.size >= maxWatchers
          : wss.clients.size - watchers.size >= limits.controlSockets
        if (isFull) return refuseRaw(socket, 503, "too many control sockets")
        wss.handleUpgrade(request, socket, head, (ws) => {
          actions.closingOnThrow(ws, isWatcher ? watch : converse)(ws, socket, connection)
        })
      },
      close: (frame, code, reason) => {
        for (const ws of wss.clients) {
          if (ws.readyState !== WS.WebSocket.OPEN || viewers.has(ws)) continue
          actions.send(ws, frame)
          ws.close(code, reason)
        }
      },
      dismissViewers: viewers.dismiss,
      terminate: () => {
        for (const ws of wss.clients) if (!viewers.has(ws)) ws.terminate()
      },
      terminateViewers: viewers.terminate
    }
  })
