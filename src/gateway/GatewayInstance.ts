/**
 * The running gateway, and the half of it that comes above the lock. Exported by `Gateway`.
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServer from "@effect/platform/HttpServer"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { type Address, toUrl } from "../Address.ts"
import type { BindFailed, LockLost, PortInUse } from "../GatewayLockError.ts"
import { whileNot } from "../internal/whileNot.ts"
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
 * The running instance: what an app under it can know of it, and be told.
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
  /** New for every start; `/healthz` and the lock file show the same. */
  readonly instanceId: string
  /** Where it listens, with the real port. */
  readonly address: Address
  /** `ws://<host>:<port>` */
  readonly url: string
  /** This config's lock file. */
  readonly lockPath: string
  /** What keeps others out: a kernel lock, or the owner record alone. */
  readonly enforcement: Enforcement
  /** What the lock file says now. */
  readonly record: Effect.Effect<OwnerRecord>
  /** Since when the lock is held. */
  readonly heldSince: DateTime.Utc
  /** What has happened since the start began, the last of it, oldest first. */
  readonly history: Effect.Effect<ReadonlyArray<StateChange>>
  /** Connections open now. */
  readonly connections: Effect.Effect<number>
  /** Completes when shutdown begins, with the reason. */
  readonly drainBegan: Effect.Effect<string>
  /**
   * Puts the token in front of an app of yours: 401 without it, by `Authorization: Bearer` or as subprotocol. Where no
   * token was given, the app as it is. What is not wrapped so is answered to anybody that `Host` and `Origin` let through.
   */
  readonly authorized: <E, R>(app: HttpApp.Default<E, R>) => HttpApp.Default<E, R>
  /** Adds a check to `/readyz`, until the scope closes; `Gateway.readiness` says more. */
  readonly readiness: <E, R>(
    name: string,
    check: Effect.Effect<unknown, E, R>,
    options?: Readiness.ReadinessOptions
  ) => Effect.Effect<void, never, R | Scope.Scope>
  /** Never succeeds; fails when the lock is lost. `launch` races it for you. */
  readonly lost: Effect.Effect<never, LockLost>
}>() {}

/**
 * How a gateway serves, once it has the lock.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServingOptions extends ListenerOptions {
  /** What the gateway is called. */
  readonly profile?: string | undefined
  /** Moves some of the gateway's own routes, or leaves their paths to the app. Default: all at their paths. */
  readonly routes?: OwnPaths | undefined
}

/** In one effect: every layer between would cost a start a part of a millisecond. */
const make = (
  options: ServingOptions
): Effect.Effect<
  Context.Context<Gateway | HttpServer.HttpServer>,
  PortInUse | BindFailed,
  LockFile.LockFile | PortProbe | ServerSocket | Scope.Scope
> =>
  Effect.gen(function*() {
    const lock = yield* LockFile.LockFile
    const lifecycle = yield* Lifecycle.make
    const routes = yield* StatusFeed.make(options).pipe(
      Effect.flatMap((watch) => GatewayRoutes.make({ routes: options.routes, watch })),
      Effect.provideService(Lifecycle.Lifecycle, lifecycle)
    )
    const served = yield* Listener.make(options).pipe(
      Effect.provide(Context.make(Lifecycle.Lifecycle, lifecycle).pipe(Context.add(OwnRoutes, routes)))
    )
    const { address, connections } = Context.get(served, Listener.Listener)
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
      lost: lock.lost
    })
    // Without the listener: what is in the context of an app is copied some times for each of its requests.
    return Context.make(Gateway, gateway).pipe(
      Context.add(HttpServer.HttpServer, Context.get(served, HttpServer.HttpServer))
    )
  })

/**
 * The half above the lock: listener, routes and the running instance.
 *
 * Apart, so that a program can load it only once it holds the lock.
 *
 * Fails with `PortInUse` or `BindFailed`. Release drains and closes the listener; the lock is released by its own layer,
 * after that.
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
> => Layer.scopedContext(make(options))

/**
 * Adds a check of the app's to `/readyz`, until the scope closes. While it fails, `/readyz` answers 503 with its name in `failing`:
 * a balancer sends no requests meanwhile, and nothing else changes.
 *
 * A check passes if it succeeds with anything but `false`, within its time (default 1 second). It runs when somebody asks `/readyz`,
 * once at a time however many ask, and only while an app is served. A change of its result is logged. A name that is not allowed
 * (1 to 64 printable ASCII characters, none of the gateway's own reasons) is a defect, `SettingInvalid`.
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
 * Runs an effect for as long as the lock is held. When the lock is lost, the effect is interrupted, and this fails with
 * `LockLost` once it has ended.
 *
 * For who runs a gateway with `ManagedRuntime` or in a `Scope` of his own; `launch` and `layerLost` are for layers.
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
export const whileHeld = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | LockLost, R | Gateway> =>
  Effect.flatMap(Gateway, ({ lost }) => whileNot(lost)(self))

/**
 * A layer that is never ready, and fails with `LockLost` when the lock is lost. Beside an app it lets `Layer.launch` fail
 * then, as `launch` does. Whatever is provided with it never starts.
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
export const layerLost: Layer.Layer<never, LockLost, Gateway> = Layer.effectDiscard(
  Effect.flatMap(Gateway, ({ lost }) => lost)
)

/**
 * `Layer.launch`, which also fails with `LockLost` when a gateway of the layer loses its lock: one of several gateways too, and
 * while the layer is still being built.
 *
 * Fails with what the layer fails with, and `LockLost`. Nothing else ends it but interruption, as by `NodeRuntime.runMain` at
 * SIGTERM and SIGINT.
 *
 * @since 0.1.0
 * @category running
 */
export const launch = <ROut, E, R>(
  self: Layer.Layer<ROut | Gateway, E, R>
): Effect.Effect<never, E | LockLost, R> => Effect.scoped(untilLost(Effect.zipRight(Layer.build(self), Effect.never)))
