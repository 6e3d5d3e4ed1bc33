/**
 * The `Gateway` service of a running gateway, and the layer that serves once the lock is held. The module `Gateway` exports both.
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServer from "@effect/platform/HttpServer"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { type Address, toUrl } from "../Address.ts"
import type { BindFailed, LeadershipLost, LockLost, PortInUse } from "../GatewayLockError.ts"
import { whileNot } from "../internal/whileNot.ts"
import type { HolderGateway } from "../leader/HolderText.ts"
import type { StateChange } from "../lock/History.ts"
import type { Enforcement } from "../lock/LockAttempt.ts"
import * as LockFile from "../lock/LockFile.ts"
import { untilLost } from "../lock/LossReport.ts"
import type { OwnerRecord } from "../lock/OwnerRecord.ts"
import * as StatusFeed from "../page/StatusFeed.ts"
import type { PortProbe } from "../probe/PortProbe.ts"
import * as Authorization from "../server/Authorization.ts"
import * as GatewayRoutes from "../server/GatewayRoutes.ts"
import * as Lifecycle from "../server/Lifecycle.ts"
import * as Listener from "../server/Listener.ts"
import type { ListenerOptions } from "../server/ListenerOptions.ts"
import type { OwnPaths } from "../server/OwnPaths.ts"
import * as Readiness from "../server/Readiness.ts"
import { OwnRoutes, type ServerSocket } from "../server/ServerSocket.ts"
import { defaultProfile, SettingInvalid } from "../settings/GatewayConfig.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import { version } from "../Version.ts"

/**
 * The running gateway. An app uses this service to read the gateway's identity, lock and state, to protect routes, and to add
 * readiness checks.
 *
 * @example
 * import { HttpRouter, HttpServerResponse } from "@effect/platform"
 * import { Effect } from "effect"
 * import { Gateway } from "gateway-lock"
 *
 * const secrets = HttpServerResponse.text("only with the token")
 *
 * const router = Effect.map(Gateway.Gateway, ({ authorized }) =>
 *   HttpRouter.empty.pipe(HttpRouter.get("/secrets", authorized(secrets))))
 *
 * @since 0.1.0
 * @category tags
 */
export class Gateway extends Context.Tag("gateway-lock/Gateway")<Gateway, {
  /** A new id for every start. `/healthz` and the lock file show the same id. */
  readonly instanceId: string
  /** Where the gateway listens, with the real port if port 0 was requested. */
  readonly address: Address
  /** `ws://<host>:<port>` */
  readonly url: string
  /** The path of the lock file for this gateway's config file. */
  readonly lockPath: string
  /**
   * What keeps other processes from acquiring the lock: a kernel lock (`kernel`), or only the owner record in the lock file
   * (`record`).
   */
  readonly enforcement: Enforcement
  /** The owner record that is in the lock file now. It names the process that owns the lock. */
  readonly record: Effect.Effect<OwnerRecord>
  /** When the lock was acquired. */
  readonly heldSince: DateTime.Utc
  /** The changes of the gateway's state since the beginning of its start, oldest first. Only the latest 50 are kept. */
  readonly history: Effect.Effect<ReadonlyArray<StateChange>>
  /** The number of open connections. */
  readonly connections: Effect.Effect<number>
  /** Completes when shutdown begins, with the reason. */
  readonly drainBegan: Effect.Effect<string>
  /**
   * Protects an app with the gateway's access token. A client sends the token as `Authorization: Bearer` or as a WebSocket
   * subprotocol. A request without the token gets 401. If no token is set, returns the app unchanged. An app that is not
   * protected answers every request whose `Host` and `Origin` are allowed.
   */
  readonly authorized: <E, R>(app: HttpApp.Default<E, R>) => HttpApp.Default<E, R>
  /** Adds a check to `/readyz`, until the scope closes. See `Gateway.readiness`. */
  readonly readiness: <E, R>(
    name: string,
    check: Effect.Effect<unknown, E, R>,
    options?: Readiness.ReadinessOptions
  ) => Effect.Effect<void, never, R | Scope.Scope>
  /**
   * Fails when the lock is lost, or with a lease the leadership, and never succeeds. `launch` watches this effect for you.
   */
  readonly lost: Effect.Effect<never, LockLost | LeadershipLost>
}>() {}

/**
 * How a gateway serves once it holds the lock.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServingOptions extends ListenerOptions {
  /** The name of the gateway in metrics and on the status page. */
  readonly profile?: string | undefined
  /**
   * Moves some of the gateway's own routes, or leaves their paths to the app. Default: the gateway answers at all its own
   * paths.
   */
  readonly routes?: OwnPaths | undefined
}

/**
 * The parts of a gateway that are built on the lock.
 *
 * @internal
 */
export interface Serving {
  readonly lifecycle: Lifecycle.Lifecycle["Type"]
  readonly lose: Listener.Bound["lose"]
  readonly context: Context.Context<Gateway | HttpServer.HttpServer>
}

/**
 * What a gateway with a lease adds to the others.
 *
 * @internal
 */
export interface Election {
  /** Fails when the leadership is lost. */
  readonly lost: Effect.Effect<never, LeadershipLost>
  /** The leader at the last look. `None` if there was none, and before the first look. */
  readonly leader: Effect.Effect<Option.Option<HolderGateway>>
}

/**
 * Builds everything in one effect, because each layer of a stack would add a fraction of a millisecond to every start.
 *
 * @internal
 */
export const build = (
  options: ServingOptions,
  election?: Election
): Effect.Effect<
  Serving,
  PortInUse | BindFailed,
  LockFile.LockFile | PortProbe | ServerSocket | Scope.Scope
> =>
  Effect.gen(function*() {
    const lock = yield* LockFile.LockFile
    const lifecycle = yield* Lifecycle.make
    // Before the port is bound, so that no client sees this gateway ready, or still starting.
    if (election !== undefined) yield* lifecycle.setLeadership("awaited")
    const feed = yield* Effect.provideService(
      StatusFeed.makeFeed({ profile: options.profile, leader: election?.leader }),
      Lifecycle.Lifecycle,
      lifecycle
    )
    const routes = yield* Effect.provideService(
      GatewayRoutes.make({ routes: options.routes, watch: feed.watch }),
      Lifecycle.Lifecycle,
      lifecycle
    )
    const { context: served, lose } = yield* Listener.makeBound(options).pipe(
      Effect.provide(Context.make(Lifecycle.Lifecycle, lifecycle).pipe(Context.add(OwnRoutes, routes)))
    )
    const { address, connections, requests } = Context.get(served, Listener.Listener)
    yield* feed.observe({ connections, requests })
    yield* Metrics.announce({
      version,
      profile: options.profile ?? defaultProfile,
      instance_id: lock.instanceId
    })
    const gateway = Gateway.of({
      instanceId: lock.instanceId,
      address,
      url: toUrl(address),
      lockPath: lock.path,
      enforcement: lock.enforcement,
      record: lock.record,
      heldSince: lock.heldSince,
      history: Effect.map(lock.history, ({ value }) => value),
      connections,
      drainBegan: lifecycle.drainBegan,
      authorized: Authorization.make(options.token),
      readiness: (name, check, checkOptions) =>
        Readiness.isAllowedName(name)
          ? Effect.flatMap(Readiness.make(name, check, checkOptions), (passes) => lifecycle.addCheck(name, passes))
          : Effect.die(
            new SettingInvalid({
              setting: "readiness check",
              source: "Gateway.readiness",
              value: JSON.stringify(name),
              allowed: Readiness.allowedName
            })
          ),
      lost: election === undefined ? lock.lost : Effect.raceFirst(lock.lost, election.lost)
    })
    // Effect copies the context of an app several times per request. So the context is kept small, and `Listener` is left out on
    // purpose.
    const context = Context.make(Gateway, gateway).pipe(
      Context.add(HttpServer.HttpServer, Context.get(served, HttpServer.HttpServer))
    )
    return { lifecycle, lose, context }
  })

/**
 * The part of a gateway above the lock: the listener, the gateway's own routes and the running instance.
 *
 * This layer is separate from the lock. A program can therefore acquire the lock first, and only then load the code of this
 * layer.
 *
 * Fails with `PortInUse` or `BindFailed`. When the scope of the layer closes, the gateway drains and closes the listener. After
 * that, the lock's own layer releases the lock.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerServing = (
  options: ServingOptions
): Layer.Layer<
  Gateway | HttpServer.HttpServer,
  PortInUse | BindFailed,
  LockFile.LockFile | PortProbe | ServerSocket
> => Layer.scopedContext(Effect.map(build(options), ({ context }) => context))

/**
 * Adds a check of the app to `/readyz`, until the scope closes. While the check fails, `/readyz` answers 503 with the name of
 * the check in `failing`. A load balancer then sends no requests to this gateway. Nothing else changes.
 *
 * A check passes if it succeeds with any value but `false`, within its timeout (default 1 second). It runs when a client
 * requests `/readyz`, and only while an app is served. Concurrent requests share one run. A change of the result is logged.
 *
 * A name has 1 to 64 printable ASCII characters. It must not be `draining`, `leadership`, `lock` or `starting`, because the
 * gateway itself reports these in `failing`. A name that breaks these rules is a defect, `SettingInvalid`.
 *
 * @example
 * import { SqlClient } from "@effect/sql"
 * import { Effect, Layer } from "effect"
 * import { Gateway } from "gateway-lock"
 *
 * const DatabaseCheck = Layer.scopedDiscard(
 *   Effect.flatMap(SqlClient.SqlClient, (sql) => Gateway.readiness("database", sql`SELECT 1`))
 * )
 *
 * @since 0.1.0
 * @category running
 */
export const readiness = <E, R>(
  name: string,
  check: Effect.Effect<unknown, E, R>,
  options?: Readiness.ReadinessOptions
): Effect.Effect<void, never, R | Gateway | Scope.Scope> =>
  Effect.flatMap(Gateway, (gateway) => gateway.readiness(name, check, options))

/**
 * Runs an effect while the lock is held. If the lock is lost, `whileHeld` interrupts the effect, waits until it has ended, and
 * then fails with `LockLost`. With a lease, it does the same if the leadership is lost, and fails with `LeadershipLost`.
 *
 * Use `whileHeld` for a gateway in a `ManagedRuntime` or in a `Scope` that you manage. For layers, use `launch` or `layerLost`.
 *
 * @example
 * import { Effect, ManagedRuntime } from "effect"
 * import { Gateway } from "gateway-lock"
 *
 * const runtime = ManagedRuntime.make(Gateway.layer())
 * const program = Gateway.whileHeld(Effect.never).pipe(
 *   Effect.catchTag("LockLost", (error) => Effect.logError(error.message))
 * )
 * runtime.runPromise(program).finally(() => runtime.dispose())
 *
 * @since 0.1.0
 * @category running
 */
export const whileHeld = <A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E | LockLost | LeadershipLost, R | Gateway> =>
  Effect.flatMap(Gateway, ({ lost }) => whileNot(lost)(self))

/**
 * A layer that never finishes building, and fails with `LockLost` when the lock is lost, or with `LeadershipLost` when the leadership
 * is lost. Merge it with the layer of an app, so
 * that `Layer.launch` fails when the lock is lost, as `launch` does. A layer that depends on `layerLost` never starts.
 *
 * @example
 * import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
 * import { Layer } from "effect"
 * import { Gateway } from "gateway-lock"
 *
 * const App = HttpServer.serve(HttpRouter.get(HttpRouter.empty, "/", HttpServerResponse.text("hello")))
 *
 * Layer.launch(Layer.merge(App, Gateway.layerLost).pipe(Layer.provide(Gateway.layer())))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLost: Layer.Layer<never, LockLost | LeadershipLost, Gateway> = Layer.effectDiscard(
  Effect.flatMap(Gateway, ({ lost }) => lost)
)

/**
 * Works like `Layer.launch`, but also fails with `LockLost` if a gateway of the layer loses its lock, and with `LeadershipLost` if it
 * loses its leadership. The layer may contain several gateways, and a gateway may lose its lock before the whole layer is built.
 *
 * Fails with the errors of the layer, and with `LockLost` and `LeadershipLost`. Otherwise only an interruption ends `launch`. `NodeRuntime.runMain`
 * interrupts it on SIGTERM and SIGINT.
 *
 * @since 0.1.0
 * @category running
 */
export const launch = <ROut, E, R>(
  self: Layer.Layer<ROut | Gateway, E, R>
): Effect.Effect<never, E | LockLost | LeadershipLost, R> =>
  Effect.scoped(untilLost(Effect.zipRight(Layer.build(self), Effect.never)))
