/**
 * Adds three things to the WebSockets that the served app answers: checks before the handshake, a close when the drain (the first
 * part of a shutdown) begins, and the removal of the access token from traces. Plain requests do not need these three.
 */
import * as Headers from "@effect/platform/Headers"
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Socket from "@effect/platform/Socket"
import * as Effect from "effect/Effect"
import * as Http from "node:http"
import { goingAway } from "../ServerSocket.ts"
import { handshakeFault } from "./UpgradeRequests.ts"

/** A browser can send an access token for a WebSocket only in this header, because a page cannot set any other header there. */
export const protocolHeader = "sec-websocket-protocol"

/** Keeps the access token out of traces. Effect redacts `Authorization` by itself, but not `Sec-WebSocket-Protocol`. */
export const withoutToken: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = Effect.locallyWith(
  Headers.currentRedactedNames,
  (names) => [...names, protocolHeader]
)

const gone = new Error("the client closed its connection before the WebSocket was opened")

/**
 * Runs a WebSocket, or fails if its client has already disconnected. For a disconnected client, the library `ws` never calls back
 * (8.23.0; `completeUpgrade` in lib/websocket-server.js). `NodeHttpServer` (0.108.2; `makeUpgradeHandler` in internal/httpServer.ts) waits
 * uninterruptibly until `ws` calls back. So without this check, neither the fiber nor a shutdown would ever end.
 *
 * This check must be the first step of a new fiber. Such a fiber does not yield between the check and the handshake, so the
 * client cannot disconnect in between.
 */
const whilePresent = ({ socket }: Http.IncomingMessage) => <A, E, R>(run: Effect.Effect<A, E, R>) =>
  Effect.suspend((): Effect.Effect<A, E | Socket.SocketGenericError, R> =>
    socket.readable && socket.writable ? run : new Socket.SocketGenericError({ reason: "Open", cause: gone })
  )

const closingOnDrain = (drainBegan: Effect.Effect<string>, source: Http.IncomingMessage) =>
(
  socket: Socket.Socket
): Socket.Socket => {
  const goAway = Effect.gen(function*() {
    const reason = yield* drainBegan
    const write = yield* socket.writer
    yield* Effect.ignore(write(new Socket.CloseEvent(goingAway, reason)))
    return yield* Effect.never
    // An app that is not a router runs uninterruptibly, and without `Effect.interruptible` this effect would as well. `raceFirst`
    // below interrupts this effect and waits for its end. An uninterruptible `Effect.never` does not end, so the shutdown would
    // hang.
  }).pipe(Effect.scoped, Effect.interruptible)
  return {
    [Socket.TypeId]: Socket.TypeId,
    run: (handler, options) => Effect.raceFirst(whilePresent(source)(socket.run(handler, options)), goAway),
    runRaw: (handler, options) => Effect.raceFirst(whilePresent(source)(socket.runRaw(handler, options)), goAway),
    writer: socket.writer
  }
}

type Request = HttpServerRequest.HttpServerRequest

const upgradeGuard = (drainBegan: Effect.Effect<string>) => {
  const guard = (request: Request): Request => {
    const { source } = request
    if (!(source instanceof Http.IncomingMessage)) return request
    const upgrade = Effect.suspend(() => {
      const fault = handshakeFault(source)
      return fault === undefined
        ? Effect.map(request.upgrade, closingOnDrain(drainBegan, source))
        : new HttpServerError.RequestError({ request, reason: "Decode", description: fault })
    })
    // A router that is mounted in another router gets a modified copy of the request. Without `guard`, a WebSocket that is opened
    // from that copy would skip the checks and would stay open in a drain.
    const modify: Request["modify"] = (options) => guard(request.modify(options))
    return new Proxy(request, {
      get: (target, key) => key === "upgrade" ? upgrade : key === "modify" ? modify : Reflect.get(target, key, target)
    })
  }
  return guard
}

/**
 * Makes an app close its WebSockets when the drain (the first part of a shutdown) begins. The upgrade of a WebSocket fails at once
 * if its client has disconnected, or if the library `ws` would refuse the handshake.
 */
export const withClosingSockets =
  (drainBegan: Effect.Effect<string>) => <E, R>(app: HttpApp.Default<E, R>): HttpApp.Default<E, R> =>
    Effect.updateService(app, HttpServerRequest.HttpServerRequest, upgradeGuard(drainBegan))
