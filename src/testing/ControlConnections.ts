/**
 * The open connections of one simulated gateway: requests that have no response yet, and the WebSockets that the gateway itself
 * serves.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as ProbeTransport from "../host/ProbeTransport.ts"
import type { BindOptions } from "../server/ServerSocket.ts"
import { type KernelProcess, running } from "./SimulatedKernel.ts"

/**
 * The client's end of a WebSocket to a simulated gateway.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedWebSocket {
  /** The frames that the client has received, oldest first. */
  readonly frames: Queue.Dequeue<string>
  /** Sends a text frame. */
  readonly send: (text: string) => Effect.Effect<void>
  /** Closes the socket from the client's side. */
  readonly close: Effect.Effect<void>
  /** Completes with the close code and reason when the socket is closed. */
  readonly closed: Deferred.Deferred<{ readonly code: number; readonly reason: string }>
}

/** The close code of a WebSocket (RFC 6455, 7.4) and the close reason. */
export interface Closed {
  readonly code: number
  readonly reason: string
}

/** The gateway's end of a WebSocket. */
interface ServerEnd {
  readonly frames: Queue.Queue<string>
  readonly closed: Deferred.Deferred<Closed>
  /** Whether the client has sent `watch`, the request to receive every change of the gateway's state. */
  watches: boolean
  /** The fiber that sends a frame at each change of the gateway's state. It starts when the client sends `watch`. */
  watcher: Fiber.Fiber<never> | undefined
}

/**
 * `viewers` are the WebSockets whose client has sent `watch`, the request to receive every change of the gateway's state.
 * `others` are all other WebSockets.
 */
type Kind = "viewers" | "others"

/** The connections that are open now. */
interface Open {
  readonly sockets: Set<ServerEnd>
  /** One `Deferred` for each request or WebSocket handshake. The completion of a `Deferred` cuts its connection. */
  readonly inFlight: Set<Deferred.Deferred<void>>
  readonly idle: Deferred.Deferred<void>
  /**
   * `true` after a shutdown has begun. From then on, `idle` completes as soon as `countPending` is 0, because a shutdown waits
   * only for the connections that `countPending` counts.
   */
  stopped: boolean
}

const socketsOf = ({ sockets }: Open, kind: Kind): ReadonlyArray<ServerEnd> =>
  [...sockets].filter(({ watches }) => watches === (kind === "viewers"))

const countPending = (open: Open): number => open.inFlight.size + socketsOf(open, "others").length

const finishIfIdle = (open: Open): void => {
  if (open.stopped && countPending(open) === 0) Deferred.unsafeDone(open.idle, Effect.void)
}

/**
 * Runs `answer` as soon as the process is not stopped. The kernel accepts connections even for a process that SIGSTOP has
 * stopped, so the client waits for the response until that process continues.
 */
const answeredBy =
  (process: KernelProcess, open: Open) =>
  <A>(answer: Effect.Effect<A, ProbeTransport.ProbeFailed>): Effect.Effect<A, ProbeTransport.ProbeFailed> =>
    Effect.gen(function*() {
      const cut = yield* Deferred.make<void>()
      open.inFlight.add(cut)
      return yield* Effect.raceFirst(
        Effect.zipRight(running(process), answer),
        Effect.zipRight(
          Deferred.await(cut),
          new ProbeTransport.ProbeFailed({ reason: "NotHttp", detail: "socket hang up" })
        )
      ).pipe(Effect.ensuring(Effect.sync(() => {
        open.inFlight.delete(cut)
        finishIfIdle(open)
      })))
    })

const offer = (open: Open, socket: ServerEnd, frame: string) =>
  Effect.suspend(() => open.sockets.has(socket) ? Queue.offer(socket.frames, frame) : Effect.void)

const closeSocket = (open: Open, socket: ServerEnd, code: number, reason: string) =>
  Effect.gen(function*() {
    open.sockets.delete(socket)
    yield* Deferred.succeed(socket.closed, { code, reason })
    if (socket.watcher !== undefined) yield* Fiber.interruptFork(socket.watcher)
    finishIfIdle(open)
  })

const closeSockets = (open: Open, kind: Kind, frame: string, code: number, reason: string) =>
  Effect.suspend(() =>
    Effect.forEach(
      socketsOf(open, kind),
      (socket) => Effect.zipRight(offer(open, socket, frame), closeSocket(open, socket, code, reason)),
      { discard: true }
    )
  )

const reset = (open: Open, which: "all" | "others") =>
  Effect.gen(function*() {
    const ending = which === "all" ? [...open.sockets] : socketsOf(open, which)
    for (const cut of open.inFlight) yield* Deferred.succeed(cut, undefined)
    for (const socket of ending) {
      open.sockets.delete(socket)
      yield* Deferred.succeed(socket.closed, { code: 1006, reason: "" })
    }
  })

/** The connections of one gateway, with the operations on them. */
export interface ControlConnections {
  /** Opens a WebSocket to the gateway. */
  readonly connect: Effect.Effect<SimulatedWebSocket>
  /** Runs `answer`, and counts its request or WebSocket handshake as open until it is answered or cut. */
  readonly answered: <A>(
    answer: Effect.Effect<A, ProbeTransport.ProbeFailed>
  ) => Effect.Effect<A, ProbeTransport.ProbeFailed>
  /** The number of open connections. */
  readonly count: Effect.Effect<number>
  /** The number of open connections that a shutdown waits for. */
  readonly pending: Effect.Effect<number>
  /** Begins the shutdown: from now on, `idle` completes as soon as `pending` is 0. */
  readonly stop: () => void
  readonly idle: Effect.Effect<void>
  /** Sends a last frame to each WebSocket of a kind, then closes it. */
  readonly closeSockets: (kind: Kind, frame: string, code: number, reason: string) => Effect.Effect<void>
  /**
   * Cuts each request that has no response yet, and closes WebSockets without a close frame. With `others`, the WebSockets whose
   * client has sent `watch` stay open.
   */
  readonly reset: (which: "all" | "others") => Effect.Effect<void>
}

/** Makes the object that simulates the connections of one gateway. At first, no connection is open. */
export const make = (
  process: KernelProcess,
  control: BindOptions["routes"]["control"]
): Effect.Effect<ControlConnections, never, Scope.Scope> =>
  Effect.gen(function*() {
    // A frame is handled in a fiber with the clock and scheduler of this process, even if another process sends the frame.
    const run = yield* FiberSet.makeRuntime<never>()
    const open: Open = { sockets: new Set(), inFlight: new Set(), idle: yield* Deferred.make<void>(), stopped: false }
    const count = Effect.sync(() => open.inFlight.size + open.sockets.size)
    const pending = Effect.sync(() => countPending(open))

    const receive = (socket: ServerEnd, text: string) =>
      Effect.gen(function*() {
        yield* running(process)
        if (!open.sockets.has(socket)) return
        const reply = control.answer({ _tag: "Text", text })
        for (const frame of reply.send) yield* offer(open, socket, frame)
        if (reply.watch === true && !socket.watches) {
          socket.watches = true
          socket.watcher = run(
            control.watch({ push: (frame) => offer(open, socket, frame), connections: count, pending })
          )
        }
        if (reply.close !== undefined) yield* closeSocket(open, socket, reply.close.code, reply.close.reason)
      })

    const connect = Effect.gen(function*() {
      const frames = yield* Queue.unbounded<string>()
      const closed = yield* Deferred.make<Closed>()
      const socket: ServerEnd = { frames, closed, watches: false, watcher: undefined }
      open.sockets.add(socket)
      yield* offer(open, socket, yield* control.hello)
      return {
        frames,
        closed,
        // `run` handles the frame in a separate fiber, because the gateway's process may be suspended (SIGSTOP), and the sender
        // must not wait for that process.
        send: (text: string) => Effect.asVoid(Effect.sync(() => run(receive(socket, text)))),
        close: closeSocket(open, socket, 1005, "")
      }
    })

    return {
      connect,
      answered: answeredBy(process, open),
      count,
      pending,
      stop: () => {
        open.stopped = true
        finishIfIdle(open)
      },
      idle: Deferred.await(open.idle),
      closeSockets: (kind, frame, code, reason) => closeSockets(open, kind, frame, code, reason),
      reset: (which) => reset(open, which)
    }
  })
