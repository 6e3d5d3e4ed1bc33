/**
 * The open connections of a server. A drain counts them to know when it is done, and finds in them what to close and what to cut.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Http from "node:http"
import type * as Net from "node:net"
import * as Metrics from "../../telemetry/Metrics.ts"
import * as Access from "../Access.ts"

/** Starts a fiber that ends, at the latest, with the server's scope. */
export type Run = <A, E>(effect: Effect.Effect<A, E>) => Fiber.RuntimeFiber<A, E>

/** While shutting down, how long a connection that has just been accepted may take to send something. */
const firstRequestGrace = Duration.seconds(1)

/** What a shutdown must know of a connection. */
export interface Connection {
  /** In the order of their requests. Those in front may be answered by now: `unansweredOf` leaves these out. */
  readonly responses: Array<Http.ServerResponse>
  /** The last of them, also once it has been answered. */
  latest: Http.ServerResponse | undefined
  readonly judge: (head: Access.Head) => Access.Verdict
  /** What had been sent when it was upgraded, in bytes. */
  writtenBeforeUpgrade: number
  /** Its client watches what happens: a drain does not wait for it. */
  viewing: boolean
  /** One of its requests was refused: what it sends after that is not looked at. */
  refused: boolean
}

/**
 * The responses of a connection that are not answered, or not wholly sent. Counted on demand: a listener for the end of each
 * response costs a busy server as much as all other work here for a request.
 */
export const unansweredOf = ({ responses }: Connection): ReadonlyArray<Http.ServerResponse> => {
  while (responses[0]?.closed === true) responses.shift()
  return responses
}

/** The connections of one server, and how far its shutdown has come. */
export interface ConnectionTable {
  /** The entry of a connection, while it is open. */
  readonly get: (socket: Net.Socket) => Connection | undefined
  /** Open now, viewers too. */
  readonly size: () => number
  /** The same as an effect. */
  readonly connections: Effect.Effect<number>
  /** Open now, without viewers: what a drain waits for. */
  readonly pending: Effect.Effect<number>
  /** Completes when nothing is pending, once the server has stopped. */
  readonly idle: Effect.Effect<void>
  /** Counts a connection as a viewer's until it closes. False if it is one already. */
  readonly startViewing: (connection: Connection) => boolean
  /** Whether no upgrade is accepted any more. */
  readonly isStopping: () => boolean
  /** Whether nothing is accepted any more. */
  readonly isStopped: () => boolean
  /** Closes the connection of a response once all its requests are answered. */
  readonly closeAfter: (response: Http.ServerResponse) => void
  /** Accepts no upgrade from now on and, after what the kernel holds has been read, nothing. Then closes idle connections. */
  readonly stopAccepting: (closeListeners: () => void) => Effect.Effect<void>
  /** Destroys all connections but those of viewers. */
  readonly destroyPending: () => void
}

/** Between two turns the event loop polls once: a connection is accepted in one poll, and its request read in the next. */
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

/** Closes a connection that has sent nothing yet, unless it does so within the grace. */
const closeIfSilent = (socket: Net.Socket) =>
  // Two waits: when the loop was held up, the first one ends before anything that has arrived meanwhile is read.
  Effect.sleep(firstRequestGrace).pipe(
    Effect.zipRight(Effect.sleep(Duration.millis(1))),
    Effect.map(() => socket.bytesRead === 0 && socket.destroySoon())
  )

/** Closes the connections of a server that wait for no response, except those whose responses are still being sent. */
const closeIdleConnections = (server: Http.Server, beingSent: ReadonlyArray<Http.ServerResponse>) => {
  // Node treats a response as sent once `end()` was called. Clear `finished` while bytes are queued, so that the connection survives.
  for (const response of beingSent) response.finished = false
  server.closeIdleConnections()
  for (const response of beingSent) response.finished = true
}

/** Follows the connections that a server accepts from now on. */
export const make = (server: Http.Server, rules: Access.Rules, run: Run): Effect.Effect<ConnectionTable> =>
  Effect.gen(function*() {
    const labels = yield* Effect.metricLabels
    const idle = yield* Deferred.make<void>()
    const open = new Map<Net.Socket, Connection>()
    let [isStopping, isStopped, viewing] = [false, false, 0]

    const pending = () => open.size - viewing
    const finishIfIdle = () => {
      if (isStopped && pending() === 0) Deferred.unsafeDone(idle, Effect.void)
    }
    server.on("connection", (socket) => {
      const connection: Connection = {
        responses: [],
        latest: undefined,
        judge: Access.judging(rules),
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

    const closeAfter = (response: Http.ServerResponse) => {
      response.shouldKeepAlive = false
      response.on("close", () => {
        const { complete, socket } = response.req
        const connection = open.get(socket)
        // Answered before its request was read to the end: the client still sends, so the request is in flight.
        if (complete && connection !== undefined && unansweredOf(connection).length === 0) socket.destroySoon()
      })
    }
    const closeIdle = () => {
      const beingSent: Array<Http.ServerResponse> = []
      for (const [socket, connection] of open) {
        for (const response of unansweredOf(connection)) {
          closeAfter(response)
          if (response.writableEnded) beingSent.push(response)
        }
        // Accepted just now: its request may be on the way.
        if (socket.bytesRead === 0) run(closeIfSilent(socket))
      }
      closeIdleConnections(server, beingSent)
    }

    return {
      get: (socket) => open.get(socket),
      size: () => open.size,
      connections: Effect.sync(() => open.size),
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
