/**
 * The apps that are served on a server. `NodeHttpServer` registers each of them as listeners of the server; these are taken off
 * again and kept here, so that the gateway's own answers go first.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpServer from "@effect/platform/HttpServer"
import * as Effect from "effect/Effect"
import type * as Http from "node:http"
import * as AppUpgrades from "./AppUpgrades.ts"

/** What `NodeHttpServer` registers for an app. Called with what Node hands to listeners. */
type AppListener = (...args: ReadonlyArray<unknown>) => void

/** An app that is served: what answers its requests, those that may show a token in a header, and its upgrades. */
export interface ServedApp {
  readonly request: (request: Http.IncomingMessage, response: Http.ServerResponse) => void
  readonly requestWithToken: ReadonlyArray<AppListener>
  readonly upgrade: ReadonlyArray<AppListener>
}

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

/** An `HttpServer` whose apps are added to `apps`, the latest last, for as long as each is served. */
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
        // What upgrades need would cost each plain request some of its time; even a reference that was set back does.
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
