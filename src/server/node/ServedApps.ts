/**
 * The apps that are served on a server. `NodeHttpServer` (0.108.2; `make` in internal/httpServer.ts) registers each app as
 * listeners of the server. This module removes these listeners from the server and keeps them. So the gateway gets each request
 * first, and calls the listeners only if it does not answer the request itself.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpServer from "@effect/platform/HttpServer"
import * as Effect from "effect/Effect"
import type * as Http from "node:http"
import * as AppUpgrades from "./AppUpgrades.ts"

/** A listener that `NodeHttpServer` registers for an app. Its arguments are those that Node passes to listeners. */
type AppListener = (...args: ReadonlyArray<unknown>) => void

/** The listeners of one served app: for requests, for requests whose subprotocol header may carry a token, and for upgrades. */
export interface ServedApp {
  readonly request: (request: Http.IncomingMessage, response: Http.ServerResponse) => void
  readonly requestWithToken: ReadonlyArray<AppListener>
  readonly upgrade: ReadonlyArray<AppListener>
}

/** Runs `adding`, an effect that adds listeners to the server. Then removes these listeners from the server, and returns them. */
const takeListeners = <A, E, R>(server: Http.Server, event: string, adding: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const before = new Set(server.listeners(event))
    return Effect.map(adding, (): ReadonlyArray<AppListener> => {
      const added = server.listeners(event).filter((listener) => !before.has(listener))
      for (const listener of added) Reflect.apply(server.off, server, [event, listener])
      return added.map((listener) => (...args) => Reflect.apply(listener, server, args))
    })
  })

/** Makes an `HttpServer`. Its `serve` appends the app to `apps`, and removes the app when the scope of that `serve` closes. */
export const serverOf = (
  apps: Array<ServedApp>,
  server: Http.Server,
  inner: HttpServer.HttpServer,
  drainBegan: Effect.Effect<string>
): HttpServer.HttpServer =>
  HttpServer.make({
    address: inner.address,
    serve: (app, middleware) =>
      Effect.gen(function*() {
        // Plain requests have a separate handler, because the additions that upgrades need would slow down each plain request.
        // Even a FiberRef that is set and reset costs time.
        const request = yield* middleware === undefined
          ? NodeHttpServer.makeHandler(app)
          : NodeHttpServer.makeHandler(app, middleware)
        const closing = AppUpgrades.withClosingSockets(drainBegan)
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
