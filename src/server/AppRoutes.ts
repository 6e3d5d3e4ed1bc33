/**
 * Lists the routes of an app. It finds only routes that the value of the app contains, as a router or an `HttpApi` does. A plain
 * handler function does not reveal its routes.
 */
import type * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"

export interface AppRoute {
  /** `*` matches any method. */
  readonly method: string
  readonly path: string
}

type Router = HttpRouter.HttpRouter<unknown, unknown>

const isRouter = (app: unknown): app is Router => Predicate.hasProperty(app, HttpRouter.TypeId)

const listed = (app: unknown, prefix = ""): ReadonlyArray<AppRoute> =>
  isRouter(app)
    ? [
      ...Chunk.toReadonlyArray(app.routes).map(({ method, path }) => ({ method, path: `${prefix}${path}` })),
      ...Chunk.toReadonlyArray(app.mounts).flatMap(([path, mounted]) => listed(mounted, `${prefix}${path}`))
    ]
    : []

/**
 * The tag of `HttpApiBuilder.Router`. This module builds the tag from its key, because an import of `HttpApiBuilder` would load
 * all of `HttpApi`.
 */
const ApiRouter = Context.GenericTag<HttpApiBuilder.Router, HttpRouter.HttpRouter.Service<unknown, unknown>>(
  "@effect/platform/HttpApiBuilder/Router"
)

/**
 * Lists the routes of an `HttpRouter`, of the routers mounted in it, and of an `HttpApi` that is being served. It finds no
 * routes in an app that hides them, such as `HttpLayerRouter` or a router behind other combinators.
 */
export const routesOf = (app: HttpApp.Default<unknown, unknown>): Effect.Effect<ReadonlyArray<AppRoute>> =>
  Effect.flatMap(
    Effect.serviceOption(ApiRouter),
    Option.match({
      onNone: () => Effect.succeed(listed(app)),
      onSome: ({ router }) => Effect.map(router, (api) => [...listed(app), ...listed(api)])
    })
  )
