/**
 * The WebSockets that the gateway itself answers: those of the control protocol, and those of starts that wait for this gateway
 * to end (`OwnerWatch`).
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

/** How often a control socket must show that its peer still is there. */
const pingInterval = Duration.seconds(30)

/** After a close frame of ours, how long the peer may take to answer it while the gateway runs. */
const closeTimeoutMillis = 5_000

/** Watchers at one time. They need no token, and are counted on their own, so that they keep no other client out. */
const maxWatchers = 100

/** RFC 6455, 7.4.1. */
const closeCode = { policyViolation: 1008, internalError: 1011 } as const

/** Fragments of one message. Each stays in memory until the last one, and a browser sends none. */
const maxFragments = 64

/** Pieces in which one frame may arrive: TCP segments are larger than 256 bytes. Each piece costs some 200 bytes of its own. */
const maxBufferedChunks = (frameBytes: number): number => 16 + Math.ceil(frameBytes / 256)

/** A watcher answers pings and closes, and sends nothing else (RFC 6455, 5.5). */
const watcherOpcodes: ReadonlySet<number> = new Set([0x8, 0xa])

/** The control sockets of one server. */
export interface ControlSockets {
  /** Opens a control socket, or refuses it. A watcher needs no token. */
  readonly open: (
    request: Http.IncomingMessage,
    socket: Duplex,
    head: Buffer,
    connection: Connection,
    isWatcher: boolean
  ) => void
  /** Sends a last frame on every socket but those of viewers, and closes it. */
  readonly close: (frame: string, code: number, reason: string) => void
  /** The same for viewers; completes when they have gone. */
  readonly dismissViewers: (frame: string, code: number, reason: string) => Effect.Effect<void>
  /** Ends every socket but those of viewers, without a word. */
  readonly terminate: () => void
  /** The same for viewers. */
  readonly terminateViewers: () => void
}

// ---------------------------------------------------------------------------
// one socket: sending, closing, and what fails
// ---------------------------------------------------------------------------

/** What is done with a control socket, whichever protocol it speaks. */
interface Actions {
  readonly run: Run
  /** Sends a frame, or ends a socket whose client reads too slowly. */
  readonly send: (ws: WS.WebSocket, frame: string) => void
  readonly close: (ws: WS.WebSocket, code: number, reason: string) => void
  /** A listener that closes its socket if it throws. Otherwise an uncaught exception would end the process. */
  readonly guarded: <Args extends ReadonlyArray<unknown>>(
    ws: WS.WebSocket,
    listener: (...args: Args) => void
  ) => (...args: Args) => void
  /** Runs an effect, and closes the socket if it fails. */
  readonly runFor: (ws: WS.WebSocket, effect: Effect.Effect<void>) => Fiber.Fiber<void>
}

const makeActions = (limits: ConnectionLimits, run: Run): Actions => {
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
  return {
    run,
    send: (ws, frame) => {
      if (ws.readyState !== WS.WebSocket.OPEN) return
      if (ws.bufferedAmount > limits.bufferedBytes) ws.terminate()
      else ws.send(frame)
    },
    close,
    guarded: (ws, listener) => (...args) => {
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

/** The sockets whose clients are told of every change. */
interface Viewers {
  /** Tells the client of every change from now on. Again changes nothing. */
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
// limits of a socket: frames in a second, and a peer that answers pings
// ---------------------------------------------------------------------------

/** Watches what a socket sends. `refusal` is why a frame of an opcode is not allowed. */
type Attend = (ws: WS.WebSocket, socket: Duplex, refusal: (opcode: number) => string | undefined) => void

/** Counts every frame before ws reads it. */
const makeFrameLimit = (
  { framesPerSecond }: ConnectionLimits,
  { close, guarded }: Actions,
  now: () => bigint
): Attend => {
  /** Handles nothing more of a socket, whatever it still sends. */
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
      guarded(ws, (chunk: Buffer) => {
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

/** Pings every socket, and ends those that have not answered the ping before. */
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
// the protocols, and who may speak them
// ---------------------------------------------------------------------------

/** What is listened to on an open socket. */
type Protocol = (ws: WS.WebSocket, socket: Duplex, connection: Connection) => void

/** The control protocol: each message has its reply. */
const makeControlProtocol = (
  { routes: { control } }: BindOptions,
  { close, guarded, run, runFor, send }: Actions,
  viewers: Viewers,
  attend: Attend,
  isAppServed: () => boolean
): Protocol => {
  let isHinted = false
  const reply = (ws: WS.WebSocket, connection: Connection, reply: ControlReply) => {
    for (const frame of reply.send) send(ws, frame)
    if (reply.watch === true) viewers.add(ws, connection)
    if (reply.close === undefined) return
    close(ws, reply.close.code, reply.close.reason)
    // Once: it may be a client of an app that expects a WebSocket of its own there.
    if (isHinted || !isAppServed()) return
    isHinted = true
    run(Effect.logInfo(
      `a client of the control socket at ${Option.getOrElse(control.path, () => watchPath)} spoke another protocol: `
        + `closed with ${reply.close.code}, ${reply.close.reason}`
    ))
  }
  return (ws, socket, connection) => {
    attend(ws, socket, () => undefined)
    ws.on(
      "message",
      guarded(ws, (data: WS.RawData, isBinary: boolean) => {
        if (ws.readyState !== WS.WebSocket.OPEN) return
        reply(ws, connection, control.answer(isBinary ? { _tag: "Binary" } : { _tag: "Text", text: data.toString() }))
      })
    )
    runFor(ws, Effect.map(control.hello, (frame) => send(ws, frame)))
  }
}

/** The protocol of watchers: they wait for the end, and have nothing to say. */
const makeWatchProtocol = (watchers: Set<WS.WebSocket>, attend: Attend): Protocol => (ws, socket) => {
  watchers.add(ws)
  ws.once("close", () => watchers.delete(ws))
  attend(ws, socket, (opcode) => watcherOpcodes.has(opcode) ? undefined : "a watcher must not send messages")
  // It has nothing to lose: once it is told why, it does not keep its place any longer.
  socket.once("finish", () => ws.terminate())
}

const makeWebSocketServer = ({ frameBytes }: ConnectionLimits): WS.WebSocketServer => {
  const wss = new WS.WebSocketServer({
    noServer: true,
    maxPayload: frameBytes,
    maxFragments,
    maxBufferedChunks: maxBufferedChunks(frameBytes),
    // Never one that carries a token.
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

/** The control sockets of a server, and the fiber that pings them. */
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
    const limitFrames = makeFrameLimit(limits, actions, () => clock.unsafeCurrentTimeNanos())
    const attend: Attend = (ws, socket, refusal) => {
      limitFrames(ws, socket, refusal)
      // ws has closed with the fitting code already (1007 for bad UTF-8, 1009 for an oversized frame).
      ws.on("error", () => ws.terminate())
      ws.on("pong", () => silent.delete(ws))
    }
    const converse = makeControlProtocol(options, actions, viewers, attend, isAppServed)
    const watch = makeWatchProtocol(watchers, attend)
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
          actions.guarded(ws, isWatcher ? watch : converse)(ws, socket, connection)
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
