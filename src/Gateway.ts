/**
 * A running gateway as a layer: it holds a lock file, probes the port for other listeners, and serves HTTP on the port.
 *
 * `layer` is for Node, `layerPlatform` for any platform. Both acquire the lock first. `layerServing`
 * (`gateway/GatewayInstance.ts`) builds the rest on top of the lock: the listener, the gateway's own routes and the `Gateway`
 * service. So nothing listens without the lock. On release, the listener first drains (it lets open connections finish) and
 * closes. After that, the lock is released.
 *
 * @since 0.1.0
 */
import type * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Etag from "@effect/platform/Etag"
import * as HttpPlatform from "@effect/platform/HttpPlatform"
import type * as HttpServer from "@effect/platform/HttpServer"
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Struct from "effect/Struct"
import { type Gateway, layerServing } from "./gateway/GatewayInstance.ts"
import { checkAccess, checkBounds, checkGiven, checkLease, type GatewayOptions } from "./gateway/GatewayOptions.ts"
import * as LeadingInstance from "./gateway/LeadingInstance.ts"
import { layerNode, type Platform } from "./gateway/NodePlatform.ts"
import { checkNamesWithLease, checkNamesWithoutLease } from "./gateway/optionNames.ts"
import type { BindFailed, LeaseUnavailable, LockHeld, LockUnavailable, PortInUse } from "./GatewayLockError.ts"
import type * as PlatformFolders from "./host/PlatformFolders.ts"
import * as SelfFence from "./host/SelfFence.ts"
import type { Leadership, LeaseOptions } from "./leader/Leadership.ts"
import type * as LeaseStore from "./leader/LeaseStore.ts"
import * as LockFile from "./lock/LockFile.ts"
import * as Monitor from "./page/Monitor.ts"
import * as Neighbours from "./page/Neighbours.ts"
import { identified } from "./settings/GatewayIdentity.ts"

export {
  Gateway,
  launch,
  layerLost,
  layerServing,
  readiness,
  type ServingOptions,
  whileHeld
} from "./gateway/GatewayInstance.ts"
export type { GatewayOptions, InspectOptions } from "./gateway/GatewayOptions.ts"
export { layerNode, type Platform } from "./gateway/NodePlatform.ts"
export { report } from "./gateway/report.ts"
export { inspect, inspectPlatform, stop, type StopOptions, stopPlatform } from "./gateway/RunningGateway.ts"
export type { OwnPaths } from "./server/OwnPaths.ts"
export type { ReadinessOptions } from "./server/Readiness.ts"

/**
 * The errors with which the start of a gateway can fail. The documentation of `layer` says when each error occurs. `LockLost` is
 * not among them: if a gateway loses the lock that it holds, `launch` fails with `LockLost`.
 *
 * @since 0.1.0
 * @category errors
 */
export type StartError = PortInUse | BindFailed | LockHeld | LockUnavailable

/**
 * The gateway without the other services of a server (files, etags). `layer` and `layerPlatform` each add those services: `layer`
 * adds Node's implementations, `layerPlatform` those of @effect/platform.
 */
const layerGateway = (
  options: GatewayOptions
): Layer.Layer<Gateway | HttpServer.HttpServer, StartError, Platform | PlatformFolders.PlatformFolders> =>
  Layer.unwrapEffect(Effect.gen(function*() {
    yield* Effect.orDie(Effect.all([checkNamesWithoutLease(options), checkAccess(options), checkBounds(options)]))
    const { address, configName, configPath, profile, stateDir } = yield* identified(options)
    const Lock = LockFile.layerWithProbes({
      address,
      configPath,
      configName,
      stateDir,
      lock: options.lock,
      health: options.health,
      isPassedSocket: options.passedSocket !== undefined
    })
    return layerServing({ ...options, ...address, profile }).pipe(Layer.provide(Lock))
  }))

/**
 * `layer` on a platform that you provide, for example an in-memory one in tests.
 *
 * An app gets the same HTTP services as from `layer`, but files are read with the `FileSystem` of your platform. An `HttpApi`
 * needs only this layer and your platform. The response for a file has a `content-type` only if the app sets one.
 *
 * Fails like `layer`. An invalid option is a defect, `SettingInvalid`.
 *
 * @example
 * import { HttpApi, HttpApiBuilder, HttpApiClient, HttpApiEndpoint, HttpApiGroup } from "@effect/platform"
 * import { Effect, Layer, Schema } from "effect"
 * import { Gateway } from "gateway-lock"
 * import { SimulatedHost } from "gateway-lock/testing"
 *
 * class Api extends HttpApi.make("api").add(
 *   HttpApiGroup.make("greetings").add(HttpApiEndpoint.get("hello", "/hello").addSuccess(Schema.String))
 * ) {}
 *
 * const Live = HttpApiBuilder.group(Api, "greetings", (handlers) => handlers.handle("hello", () => Effect.succeed("world")))
 *
 * const App = HttpApiBuilder.serve().pipe(Layer.provide(HttpApiBuilder.api(Api)), Layer.provide(Live))
 *
 * const test = Effect.gen(function*() {
 *   const host = yield* SimulatedHost.make
 *   yield* Layer.build(App.pipe(Layer.provide(Gateway.layerPlatform({ port: 3000 })), Layer.provide(host.layer())))
 *   const client = yield* HttpApiClient.make(Api, { baseUrl: "http://127.0.0.1:3000" }).pipe(Effect.provide(host.layerClient))
 *   return yield* client.greetings.hello() // "world"
 * })
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPlatform = (
  options: GatewayOptions = {}
): Layer.Layer<
  Gateway | HttpServer.HttpServer | HttpPlatform.HttpPlatform | Etag.Generator,
  StartError,
  Platform | PlatformFolders.PlatformFolders
> => Layer.mergeAll(layerGateway(options), HttpPlatform.layer, Etag.layerWeak)

/**
 * Runs a singleton server: provides the services of `NodeHttpServer.layer`, and the running `Gateway`.
 *
 * Fails with:
 *
 * - `PortInUse` at once, if the port already has a listener.
 * - `LockHeld` if another gateway holds the same lock, because it uses the same config file or the same state directory. The
 *   layer fails at once if that gateway serves another port. Otherwise the layer waits for that gateway to end, and fails after
 *   the lock timeout.
 * - `LockUnavailable` or `BindFailed` if the operating system refuses the lock or the port.
 *
 * When the layer is released, the gateway drains its connections, closes the listener and removes the lock files, in this order.
 *
 * Effect shares a layer by reference. Call this function once and keep the result in a constant. Two calls build two
 * instances that compete for one lock.
 *
 * An invalid option is a defect, `SettingInvalid`, because it is a mistake in the program. Examples are a misspelt name, a
 * port out of range, a missing token if the host is not a loopback address, or a `lease`, which needs `layerWithLease`.
 *
 * @example
 * import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Layer } from "effect"
 * import { Gateway } from "gateway-lock"
 *
 * const Main = HttpRouter.empty.pipe(
 *   HttpRouter.get("/hello", HttpServerResponse.text("world")),
 *   HttpServer.serve(),
 *   Layer.provideMerge(Gateway.layer({ port: 18789 }))
 * )
 * NodeRuntime.runMain(Gateway.launch(Main))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: GatewayOptions = {}
): Layer.Layer<
  Gateway | HttpServer.HttpServer | HttpPlatform.HttpPlatform | Etag.Generator | NodeContext.NodeContext,
  StartError
> =>
  layerGateway(options).pipe(
    Layer.provide([Neighbours.layerLive, Monitor.layerLive]),
    Layer.provide(layerNode),
    Layer.merge(NodeHttpServer.layerContext)
  )

/**
 * Options of a gateway with a lease.
 *
 * @since 0.1.0
 * @category models
 */
export interface LeasedGatewayOptions extends Omit<GatewayOptions, "onLost"> {
  /** The lease by which one of the gateways with the same lease name leads. Its default name is the profile. */
  readonly lease?: LeaseOptions | undefined
}

const layerLeased = (
  options: LeasedGatewayOptions
): Layer.Layer<
  Gateway | Leadership | HttpServer.HttpServer,
  StartError | LeaseUnavailable,
  Platform | PlatformFolders.PlatformFolders | LeaseStore.LeaseStore
> =>
  Layer.unwrapEffect(Effect.gen(function*() {
    const { lease, ...own } = options
    yield* Effect.orDie(Effect.all([checkNamesWithLease(options), checkAccess(own), checkBounds(own)]))
    yield* Effect.orDie(checkLease(options))
    const { address, configName, configPath, profile, stateDir } = yield* identified(own)
    const Lock = LockFile.layerWithProbes({
      address,
      configPath,
      configName,
      stateDir,
      lock: options.lock,
      health: options.health,
      isPassedSocket: options.passedSocket !== undefined,
      keepsFirst: true
    })
    return Layer.scopedContext(LeadingInstance.make({ ...own, ...address, profile, lease })).pipe(Layer.provide(Lock))
  }))

/**
 * `layerWithLease` on a platform that you provide, for example an in-memory one in tests.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPlatformWithLease = (
  options: LeasedGatewayOptions = {}
): Layer.Layer<
  Gateway | Leadership | HttpServer.HttpServer | HttpPlatform.HttpPlatform | Etag.Generator,
  StartError | LeaseUnavailable,
  Platform | PlatformFolders.PlatformFolders | LeaseStore.LeaseStore
> => Layer.mergeAll(layerLeased(options), HttpPlatform.layer, Etag.layerWeak)

/**
 * `layer` for one leader among several hosts. Each host runs this layer with the same `lease.name` and the same store. One of them
 * leads, and serves its app. The others wait: their build does not end, and their `/readyz` answers 503 with
 * `"failing":["leadership"]`.
 *
 * While the layer waits to lead, the gateway answers its own routes, and any other path with 503 and `Retry-After`. Once it leads,
 * the app is built, and gets `Leadership` in addition to the services of `layer`. Pass `fencingToken` of that service to every
 * resource that the app writes to.
 *
 * If the leadership is lost, `lost` of `Gateway` fails with `LeadershipLost`, the gateway drains within `lease.stopTimeout`, and the
 * process ends. `onLost` of `layer` is not an option here, because the process must not go on.
 *
 * Fails with the errors of `layer`, and with `LeaseUnavailable` if the store refuses. A store that cannot be reached is waited for.
 *
 * @example
 * import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { Gateway, Leadership } from "gateway-lock"
 *
 * const token = Effect.map(Leadership.Leadership, ({ fencingToken }) => HttpServerResponse.text(`token ${fencingToken}`))
 *
 * const Main = HttpRouter.empty.pipe(
 *   HttpRouter.get("/", token),
 *   HttpServer.serve(),
 *   Layer.provideMerge(Gateway.layerWithLease({ port: 18789, lease: { name: "reports" } }))
 * )
 *
 * // `Store` is a layer with a `LeaseStore`, such as one of your own.
 * const run = (Store: Layer.Layer<Leadership.LeaseStore.LeaseStore>) =>
 *   NodeRuntime.runMain(Gateway.launch(Main.pipe(Layer.provide(Store))))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithLease = (
  options: LeasedGatewayOptions = {}
): Layer.Layer<
  Gateway | Leadership | HttpServer.HttpServer | HttpPlatform.HttpPlatform | Etag.Generator | NodeContext.NodeContext,
  StartError | LeaseUnavailable,
  LeaseStore.LeaseStore
> =>
  layerLeased(options).pipe(
    Layer.provide(SelfFence.layer),
    Layer.provide([Neighbours.layerLive, Monitor.layerLive]),
    Layer.provide(layerNode),
    Layer.merge(NodeHttpServer.layerContext)
  )

/**
 * Removes keys whose value is `undefined`, in nested objects too. `Config.unwrap` treats each value that is not a `Config` as a
 * nested group of options, and would throw on `undefined`.
 */
const defined = <A extends object>(options: A): A => {
  const copy = { ...options }
  for (const key of Struct.keys(copy)) {
    const value = copy[key]
    if (value === undefined) Reflect.deleteProperty(copy, key)
    else if (typeof value === "object" && value !== null && !Config.isConfig(value)) copy[key] = defined(value)
  }
  return copy
}

/**
 * `layer`, with its options read from `Config`.
 *
 * Fails with the errors of `layer`, and with `ConfigError` if a value is missing, cannot be read or is not allowed, or if an
 * option is unknown. For a value that is not allowed and for an unknown option, the error is `InvalidData`, and its path is the
 * option's name. Values have the same bounds as the settings of the `gateway` program. An option that is `undefined` counts as
 * not given.
 *
 * @example
 * import { Config } from "effect"
 * import { Gateway } from "gateway-lock"
 *
 * const Main = Gateway.layerConfig({
 *   port: Config.port("PORT").pipe(Config.withDefault(18789)),
 *   stateDir: Config.string("STATE_DIRECTORY"),
 *   drainTimeout: Config.duration("DRAIN_TIMEOUT").pipe(Config.withDefault("10 seconds")),
 *   limits: { connections: Config.integer("MAX_CONNECTIONS").pipe(Config.withDefault(10_000)) }
 * })
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<GatewayOptions>
): Layer.Layer<
  Gateway | HttpServer.HttpServer | HttpPlatform.HttpPlatform | Etag.Generator | NodeContext.NodeContext,
  StartError | ConfigError.ConfigError
> =>
  Layer.unwrapEffect(
    Config.unwrap(Config.isConfig(config) ? config : defined(config)).pipe(
      Effect.tap((options) => Effect.zipRight(checkNamesWithoutLease(options), checkGiven(options))),
      Effect.catchTag("SettingInvalid", ({ allowed, setting, value }) =>
        Effect.fail(ConfigError.InvalidData(setting.split("."), `${value}, expected ${allowed}`))),
      Effect.map(layer)
    )
  )
