/**
 * Binds the port exclusively and serves on it. At a shutdown, drains the port (waits until the requests in flight have ended) and
 * closes it.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServer from "@effect/platform/HttpServer"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import { type Address, toUrl } from "../Address.ts"
import type { BindFailed, PortInUse } from "../GatewayLockError.ts"
import { ProcessEnd } from "../host/ProcessEnd.ts"
import { keepInterruption } from "../internal/keepInterruption.ts"
import { LockFile, type Loss } from "../lock/LockFile.ts"
import type { Lost } from "../lock/LossReport.ts"
import { healthPath } from "../probe/HealthProbe.ts"
import type { PortProbe } from "../probe/PortProbe.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import { detachSpan } from "../telemetry/spans.ts"
import * as AppRoutes from "./AppRoutes.ts"
import * as Drain from "./Drain.ts"
import { Lifecycle } from "./Lifecycle.ts"
import { defaults, type LimitOptions, limitsOf, type ListenerOptions } from "./ListenerOptions.ts"
import { bindPort } from "./PortBinding.ts"
import * as ServerSocket from "./ServerSocket.ts"

export { defaults, type LimitOptions, type ListenerOptions }

/**
 * The listener of a gateway, with the port that it has bound.
 *
 * @since 0.1.0
 * @category tags
 */
export class Listener extends Context.Tag("gateway-lock/Listener")<Listener, {
  /** The host from the options, and the port that is bound. */
  readonly address: Address
  /** The number of open connections. */
  readonly connections: Effect.Effect<number>
  /** The number of requests since the bind, the gateway's own routes included. Upgrades to WebSockets do not count. */
  readonly requests: Effect.Effect<number>
}>() {}

/**
 * Why a listener must end, and how.
 *
 * @internal
 */
export interface LostService {
  readonly error: Lost
  /** The built-in check that fails, and that `/readyz` names. */
  readonly check: "lock" | "leadership"
  /** The longest time for the drain. Default: `drainTimeout`. */
  readonly within?: Duration.Duration
  /** Whether code in this process waits for the loss, and can end the process itself. */
  readonly isWatched: boolean
  /** Runs after the drain. */
  readonly release: Effect.Effect<void>
}

/**
 * An app cannot be served, because the listener was drained and closed when the last of its apps ended. To serve again, build the
 * gateway's layer again. To avoid this error, serve the next app before the present app ends. `serve` dies with this error,
 * because `HttpServer.serve` has no error channel.
 *
 * @since 0.1.0
 * @category errors
 */
export class ListenerClosed extends Data.TaggedError("ListenerClosed")<Address> {
  override get message() {
    return `cannot serve on ${toUrl(this)}: the listener was closed when its last app ended; `
      + "build the gateway's layer again, or serve the next app before the last one ends"
  }
}

type Requirements = LockFile | PortProbe | ServerSocket.ServerSocket | ServerSocket.OwnRoutes | Lifecycle

/**
 * A process that has lost its lock must end within the sum of `drainTimeout` and this time. The additional time is for the release
 * of the lock files after the drain, and for code that waits for the loss of the lock and then ends the program itself.
 */
const endGrace = Duration.seconds(10)

const shutdownReason = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.match(exit, {
    onSuccess: () => "finished",
    onFailure: (cause) => Cause.isInterruptedOnly(cause) ? "stopped" : "failed"
  })

/** Adds the connection limit of this listener to the metric. When the scope closes, subtracts the limit again. */
const countLimit = ({ connections }: ServerSocket.ConnectionLimits) =>
  Effect.acquireRelease(
    Metric.modify(Metrics.connectionsLimit, connections),
    () => Metric.modify(Metrics.connectionsLimit, -connections)
  )

/**
 * Makes the effect that ends the service after a loss. Another process may acquire what was lost and serve, and this process must
 * not serve at the same time. `lost` is `None` until then, and later has the error.
 */
const makeLose = (options: ListenerOptions, { drain, limit, timeout }: Drain.Drain) =>
  Effect.gen(function*() {
    const lifecycle = yield* Lifecycle
    const processEnd = yield* ProcessEnd
    const lost = yield* Ref.make(Option.none<Lost>())
    const lose = ({ check, error, isWatched, release, within }: LostService) =>
      Effect.gen(function*() {
        const released = yield* Deferred.make<void>()
        yield* Ref.set(lost, Option.some(error))
        yield* lifecycle.fail(check)
        if ((options.onLost ?? defaults.onLost) === "exit") {
          yield* processEnd.end({
            isWatched,
            drained: Deferred.await(released),
            within: Duration.sum(within ?? timeout, endGrace)
          })
        }
        if (within !== undefined) yield* limit(within)
        yield* drain(`${check} lost`)
        yield* Effect.uninterruptible(Effect.zipRight(release, Deferred.succeed(released, undefined)))
      })
    return { lost, lose }
  })

/** Starts a fiber that ends the service as soon as the lock is lost. */
const watchLock = (lose: Bound["lose"]) =>
  Effect.gen(function*() {
    const lock = yield* LockFile
    const onLost = (loss: Loss) => lose({ ...loss, check: "lock" })
    yield* lock.whenLost.pipe(Effect.flatMap(onLost), detachSpan, Effect.interruptible, Effect.forkScoped)
  })

/**
 * Logs a warning for each route of the app that never gets a request. This happens if the gateway itself answers the path of the
 * route.
 */
const warnOfHiddenRoutes = (routes: ServerSocket.OwnRoutes["Type"], app: HttpApp.Default<unknown, unknown>) =>
  Effect.gen(function*() {
    for (const { method, path } of yield* AppRoutes.routesOf(app)) {
      if (!routes.owns(path)) continue
      yield* Effect.logWarning(
        `the app's route ${method} ${path} is not reached: the gateway answers ${path} itself`
          + (path === healthPath ? "" : "; to change that, set the option `routes`")
      )
    }
  })

/** Makes the `HttpServer` on which apps are served. When the last of these apps ends, the listener drains. */
const makeServer = (
  bound: ServerSocket.BoundSocket,
  address: Address,
  { drain, hasBegun }: Drain.Drain,
  lost: Ref.Ref<Option.Option<Lost>>
) =>
  Effect.gen(function*() {
    const lifecycle = yield* Lifecycle
    const routes = yield* ServerSocket.OwnRoutes
    const apps = yield* Ref.make(0)
    return HttpServer.make({
      address: bound.server.address,
      serve: (app, middleware) =>
        Effect.gen(function*() {
          const before = yield* Ref.get(lost)
          // `HttpServer.serve` has no error channel, so the loss and `ListenerClosed` become defects.
          if (Option.isSome(before)) return yield* Effect.die(before.value)
          if (yield* hasBegun) return yield* Effect.die(new ListenerClosed(address))
          yield* middleware === undefined ? bound.server.serve(app) : bound.server.serve(app, middleware)
          // Finalizers run in reverse order. `bound.server.serve` has added a finalizer that removes the handlers of the app. The
          // drain below needs these handlers. So the finalizer with the drain is added later, and therefore runs first.
          yield* Effect.acquireRelease(
            Ref.update(apps, (served) => served + 1),
            (_, exit) =>
              Effect.if(Effect.map(Ref.updateAndGet(apps, (served) => served - 1), (served) => served === 0), {
                onTrue: () => drain(shutdownReason(exit)),
                onFalse: () => Effect.void
              })
          )
          yield* lifecycle.setStarted
          yield* warnOfHiddenRoutes(routes, app)
        })
    })
  })

/**
 * A listener, and how to end it.
 *
 * @internal
 */
export interface Bound {
  readonly context: Context.Context<Listener | HttpServer.HttpServer>
  /**
   * Ends the service, because the process must not serve any more: readiness fails, the listener drains and closes, and with
   * `onLost: "exit"` the process ends.
   */
  readonly lose: (loss: LostService) => Effect.Effect<void, never, Scope.Scope>
}

/**
 * Does the same as `make`, for a caller that can lose more than the lock.
 *
 * @internal
 */
export const makeBound = (
  options: ListenerOptions
): Effect.Effect<Bound, PortInUse | BindFailed, Requirements | Scope.Scope> =>
  Effect.gen(function*() {
    yield* keepInterruption
    const lifecycle = yield* Lifecycle
    const routes = yield* ServerSocket.OwnRoutes
    const lock = yield* LockFile
    const bound = yield* bindPort(options, routes, lifecycle.drainBegan)
    const address: Address = { host: options.host, port: bound.address.port }
    yield* Metrics.register
    yield* countLimit(limitsOf(options.limits))
    const drain = yield* Drain.make(options, bound, address)
    const { lose, lost } = yield* makeLose(options, drain)
    yield* watchLock(lose)
    yield* lifecycle.setBound
    // This finalizer drains if no app was ever served. If apps were served, the finalizer of the last app has already drained.
    yield* Effect.addFinalizer((exit) => drain.drain(shutdownReason(exit)))
    yield* lock.update({ phase: "listening", ...address })
    const server = yield* makeServer(bound, address, drain, lost)
    const context = Context.make(
      Listener,
      Listener.of({ address, connections: bound.connections, requests: bound.requests })
    ).pipe(
      Context.add(HttpServer.HttpServer, server)
    )
    return { context, lose }
  })

/**
 * Binds the port and serves on it until the scope closes. Then drains (waits up to `drainTimeout` until the requests in flight have
 * ended) and closes the port. Fails with `PortInUse` if another listener has the port, and with `BindFailed` if the operating
 * system refuses to bind.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: ListenerOptions
): Effect.Effect<
  Context.Context<Listener | HttpServer.HttpServer>,
  PortInUse | BindFailed,
  Requirements | Scope.Scope
> => Effect.map(makeBound(options), ({ context }) => context)

/**
 * Provides the listener, and the `HttpServer` on which apps are served. Fails with `PortInUse` or `BindFailed`. The listener
 * itself answers the routes of `ServerSocket.OwnRoutes`. `Gateway.layerServing` provides the `OwnRoutes` of a complete gateway.
 *
 * @example
 * import { HttpServer, HttpServerResponse } from "@effect/platform"
 * import { Layer } from "effect"
 * import { Gateway, Listener, LockFile, Server } from "gateway-lock"
 *
 * const address = { host: "127.0.0.1", port: 18789 }
 * const Lock = LockFile.layerWithProbes({ address, stateDir: "/var/lib/importer", configPath: "/etc/importer.json" })
 *
 * // The parts of a gateway, with custom routes instead of the gateway's own.
 * const serving = (Routes: Layer.Layer<Server.ServerSocket.OwnRoutes, never, LockFile.LockFile>) =>
 *   HttpServer.serve(HttpServerResponse.text("hello")).pipe(
 *     Layer.provide(Listener.layer({ ...address, drainTimeout: "30 seconds" })),
 *     Layer.provide([Routes, Server.Lifecycle.layer]),
 *     Layer.provide(Lock),
 *     Layer.provide(Gateway.layerNode)
 *   )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: ListenerOptions
): Layer.Layer<Listener | HttpServer.HttpServer, PortInUse | BindFailed, Requirements> =>
  Layer.scopedContext(make(options))
