/**
 * The open connections of a server. A drain (the first part of a shutdown) closes the connections that are idle and waits until
 * the others have ended. At its timeout, it cuts the connections that are still open.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Http from "node:http"
import type * as Net from "node:net"
import * as Metrics from "../../telemetry/Metrics.ts"
import * as Access from "../Access.ts"

/** Starts a fiber. If the fiber is still running when the server's scope closes, the fiber is interrupted. */
export type Run = <A, E>(effect: Effect.Effect<A, E>) => Fiber.RuntimeFiber<A, E>

/** How long a newly accepted connection may take, during a shutdown, to send its first bytes. */
const firstRequestGrace = Duration.seconds(1)

/** The state of one connection. */
export interface Connection {
  /**
   * The responses, in the order of their requests. The first ones may already be sent completely; `unansweredOf` removes these.
   */
  readonly responses: Array<Http.ServerResponse>
  /** The response to the latest request. It is kept here even after it was sent. */
  latest: Http.ServerResponse | undefined
  readonly judge: (head: Access.Head) => Access.Verdict
  /** How many bytes the server had sent on this connection when a request to upgrade it arrived. */
  writtenBeforeUpgrade: number
  /**
   * Whether the client has sent the message `watch`, to receive every change of the gateway's state. Such a client is a viewer. A
   * drain does not wait for viewers, so that they can watch the whole drain.
   */
  viewing: boolean
  /** Whether a request on this connection was refused. Everything that the client sends after that request is ignored. */
  refused: boolean
}

/**
 * Returns the responses that are not completely sent yet on a connection. They are computed on demand, because the alternative, a
 * listener for the end of each response, would be expensive. On a busy server, such a listener would take as much time for each
 * request as all other work in this file.
 */
export const unansweredOf = ({ responses }: Connection): ReadonlyArray<Http.ServerResponse> => {
  while (responses[0]?.closed === true) responses.shift()
  return responses
}

/** The connections of one server, and the progress of its shutdown. */
export interface ConnectionTable {
  /** The state of a connection; `undefined` if the connection is closed. */
  readonly get: (socket: Net.Socket) => Connection | undefined
  /** The number of open connections, including those of viewers (clients that have sent `watch`). */
  readonly size: () => number
  /** `size` as an effect. */
  readonly connections: Effect.Effect<number>
  /** Counts a request. */
  readonly countRequest: () => void
  /** The number of requests since the bind. */
  readonly requests: Effect.Effect<number>
  /**
   * The number of open connections except those of viewers (clients that have sent `watch`). A drain waits until this number is
   * 0, so it does not wait for viewers.
   */
  readonly pending: Effect.Effect<number>
  /** Completes when the server has stopped accepting and `pending` is 0. */
  readonly idle: Effect.Effect<void>
  /**
   * Counts a connection as that of a viewer (a client that has sent `watch`) until the connection closes. Returns `false` if the
   * connection is counted in this way already.
   */
  readonly startViewing: (connection: Connection) => boolean
  /** Whether the server has stopped accepting upgrades. */
  readonly isStopping: () => boolean
  /** Whether the server has stopped accepting connections. */
  readonly isStopped: () => boolean
  /** Closes the connection of a response once all requests on that connection are answered. */
  readonly closeAfter: (response: Http.ServerResponse) => void
  /**
   * Stops accepting upgrades at once. Then accepts the connections that wait in the kernel's backlog. Finally, closes the
   * listeners and the idle connections.
   */
  readonly stopAccepting: (closeListeners: () => void) => Effect.Effect<void>
  /** Destroys all connections except those of viewers (clients that have sent `watch`). */
  readonly destroyPending: () => void
}

/**
 * How many turns of the event loop a shutdown waits, so that the loop accepts the connections in the kernel's backlog. The loop
 * polls once between two turns. It accepts a connection in one poll, and reads the request on that connection in the next poll.
 */
const backlogTurns = 4

/**
 * Lets the event loop accept the connections that the kernel holds in its backlog. Otherwise the kernel would reset these
 * connections when the listening socket is closed, although their clients may have sent a request before the shutdown began.
 */
const takeBacklog = Effect.async<void>((resume) => {
  const turn = (left: number) => {
    if (left === 0) resume(Effect.void)
    else setImmediate(turn, left - 1)
  }
  turn(backlogTurns)
})

/** Closes a connection on which nothing has arrived yet, unless something arrives within `firstRequestGrace`. */
const closeIfSilent = (socket: Net.Socket) =>
  // There are two sleeps, because the event loop runs the timers that are due before it polls (`uv_run` in libuv's
  // src/unix/core.c and src/win/core.c). If the loop was blocked, the first sleep ends before the loop reads the bytes that
  // arrived during the block. The second sleep ends after the loop has read these bytes.
  Effect.sleep(firstRequestGrace).pipe(
    Effect.zipRight(Effect.sleep(Duration.millis(1))),
    Effect.map(() => socket.bytesRead === 0 && socket.destroySoon())
  )

/**
 * Closes the connections on which every request is answered. Two kinds of connections stay open: those on which a response is still
 * being sent, and those on which nothing has arrived yet.
 */
const closeIdleConnections = (server: Http.Server, open: ReadonlyMap<Net.Socket, Connection>) => {
  const beingSent = [...open.values()].flatMap((connection) =>
    unansweredOf(connection).filter((response) => response.writableEnded)
  )
  const silent = [...open.keys()].filter((socket) => socket.bytesRead === 0)
  // Node treats a response as sent once `end()` was called (`Server.prototype.closeIdleConnections` in lib/_http_server.js). So
  // `finished` is cleared during the call below for each response whose bytes are still queued. Node then keeps the connection.
  for (const response of beingSent) response.finished = false
  // Node 26 also closes connections on which nothing has arrived (nodejs/node#63470), unless their `_httpMessage` is unfinished.
  // So these connections get an unfinished `_httpMessage` for the call below.
  for (const socket of silent) Reflect.set(socket, "_httpMessage", { finished: false })
  server.closeIdleConnections()
  for (const socket of silent) Reflect.set(socket, "_httpMessage", null)
  for (const response of beingSent) response.finished = true
}

/** Tracks the connections that a server accepts from now on. */
export const make = (server: Http.Server, rules: Access.Rules, run: Run): Effect.Effect<ConnectionTable> =>
  Effect.gen(function*() {
    const labels = yield* Effect.metricLabels
    const idle = yield* Deferred.make<void>()
    const open = new Map<Net.Socket, Connection>()
    let [isStopping, isStopped, viewing, requests] = [false, false, 0, 0]

    const pending = () => open.size - viewing
    const finishIfIdle = () => {
      if (isStopped && pending() === 0) Deferred.unsafeDone(idle, Effect.void)
    }
    // One function for all connections: thousands of them may be idle, and each would keep its own.
    const closed = function(this: Net.Socket) {
      const connection = open.get(this)
      open.delete(this)
      Metrics.connections.unsafeModify(-1, labels)
      if (connection?.viewing === true) viewing -= 1
      finishIfIdle()
    }
    server.on("connection", (socket) => {
      const connection: Connection = {
        responses: [],
        latest: undefined,
        judge: Access.judgePerConnection(rules),
        writtenBeforeUpgrade: 0,
        viewing: false,
        refused: false
      }
      open.set(socket, connection)
      Metrics.connections.unsafeModify(1, labels)
      socket.once("close", closed)
    })

    const closeAfter = (response: Http.ServerResponse) => {
      response.shouldKeepAlive = false
      response.on("close", () => {
        const { complete, socket } = response.req
        const connection = open.get(socket)
        // An incomplete request was answered before its whole body was read. Its client is still sending the body, so the request
        // is still in flight. A drain lets requests in flight end, so the connection stays open.
        if (complete && connection !== undefined && unansweredOf(connection).length === 0) socket.destroySoon()
      })
    }
    const closeIdle = () => {
      for (const [socket, connection] of open) {
        for (const response of unansweredOf(connection)) closeAfter(response)
        // If nothing has arrived on a connection yet, its first request may still be on the way, so give it some more time.
        if (socket.bytesRead === 0) run(closeIfSilent(socket))
      }
      closeIdleConnections(server, open)
    }

    return {
      get: (socket) => open.get(socket),
      size: () => open.size,
      connections: Effect.sync(() => open.size),
      countRequest: () => {
        requests += 1
      },
      requests: Effect.sync(() => requests),
      pending: Effect.sync(pending),
      idle: Deferred.await(idle),
      startViewing: (connection) => {
        if (connection.viewing) return false
        connection.viewing = true
        viewing += 1
        return true
      },
      isStopping: () => isStopping,
      isStopped: () => isStopped,
      closeAfter,
      stopAccepting: (closeListeners) =>
        Effect.map(Effect.zipRight(Effect.sync(() => isStopping = true), takeBacklog), () => {
          isStopped = true
          closeListeners()
          closeIdle()
          finishIfIdle()
        }),
      destroyPending: () => {
        for (const [socket, connection] of open) if (!connection.viewing) socket.destroy()
      }
    }
  })
