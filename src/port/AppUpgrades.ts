/**
 * What an app's own WebSockets need, and plain requests do not.
 */
import * as Headers from "@effect/platform/Headers"
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Socket from "@effect/platform/Socket"
import * as Effect from "effect/Effect"
import { goingAway } from "./ServerSocket.ts"

/** The header in which a browser can show the token: it cannot set any other. */
export const protocolHeader = "sec-websocket-protocol"

/** A trace does not show a header that can carry the token, which Effect does not know. */
export const withoutToken: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = Effect.locallyWith(
  Headers.currentRedactedNames,
  (names) => [...names, protocolHeader]
)

const closingOnDrain = (drainBegan: Effect.Effect<string>) => (socket: Socket.Socket): Socket.Socket => {
  const goAway = Effect.gen(function*() {
    const reason = yield* drainBegan
    const write = yield* socket.writer
    yield* Effect.ignore(write(new Socket.CloseEvent(goingAway, reason)))
    return yield* Effect.never
    // An app that is not a router runs uninterruptibly: the race would wait for its loser, and a shutdown for the race.
  }).pipe(Effect.scoped, Effect.interruptible)
  return {
    [Socket.TypeId]: Socket.TypeId,
    run: (handler, options) => Effect.raceFirst(socket.run(handler, options), goAway),
    runRaw: (handler, options) => Effect.raceFirst(socket.runRaw(handler, options), goAway),
    writer: socket.writer
  }
}

/** An app whose WebSockets are told to go away when the drain begins, as the control socket is. */
export const withClosingSockets =
  (drainBegan: Effect.Effect<string>) => <E, R>(app: HttpApp.Default<E, R>): HttpApp.Default<E, R> =>
    Effect.updateService(app, HttpServerRequest.HttpServerRequest, (request) =>
      new Proxy(request, {
        get: (target, key) =>
          key === "upgrade"
            ? Effect.map(target.upgrade, closingOnDrain(drainBegan))
            : Reflect.get(target, key, target)
      }))
