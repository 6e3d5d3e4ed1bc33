/**
 * Lock, probe and listener, composed: one running gateway.
 *
 * @since 0.1.0
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import type * as Etag from "@effect/platform/Etag"
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as HttpPlatform from "@effect/platform/HttpPlatform"
import type * as HttpServer from "@effect/platform/HttpServer"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { canonicalPath, defaultAddress, defaultProfile, SettingInvalid, settings } from "./GatewayConfig.ts"
import type { BindFailed, LockHeld, LockLost, LockUnavailable, PortInUse } from "./GatewayLockError.ts"
import * as KernelLock from "./lock/KernelLock.ts"
import type { Enforcement } from "./lock/LockAttempt.ts"
import * as LockFile from "./lock/LockFile.ts"
import type { OwnerRecord } from "./lock/OwnerRecord.ts"
import * as ProcessTable from "./lock/ProcessTable.ts"
import * as PlatformFolders from "./PlatformFolders.ts"
import { type Address, toUrl } from "./port/Address.ts"
import * as Lifecycle from "./port/Lifecycle.ts"
import * as Listener from "./port/Listener.ts"
import type { ListenerOptions } from "./port/ListenerOptions.ts"
import * as NodeServerSocket from "./port/NodeServerSocket.ts"
import * as PortProbe from "./port/PortProbe.ts"
import * as ProbeTransport from "./port/ProbeTransport.ts"
import type { ServerSocket } from "./port/ServerSocket.ts"
import * as GatewayRoutes from "./server/GatewayRoutes.ts"

/**
 * Everything a gateway can be told. All optional.
 *
 * @since 0.1.0
 * @category models
 */
export interface GatewayOptions extends Partial<ListenerOptions> {
  /** Base port, default 18789. 0 takes a free one. */
  readonly port?: number
  /** Host to bind, default `127.0.0.1`. */
  readonly host?: string
  /** Names this gateway: its config file and state directory follow from it. Default `default`. */
  readonly profile?: string | undefined
  /** The config file whose canonical path names the lock; it is not read. Default: the profile's. */
  readonly configPath?: string | undefined
  /** Default: the profile's, by platform convention. */
  readonly stateDir?: string | undefined
  /** How long to wait for a lock whose owner does not serve our port. Default 5 seconds. */
  readonly lockTimeout?: Duration.DurationInput | undefined
  /** How often to try meanwhile. Default 100 milliseconds. */
  readonly lockPollInterval?: Duration.DurationInput | undefined
  /** How old a record must be before it can be stale, without a kernel lock. Default 30 seconds. */
  readonly lockStaleAfter?: Duration.DurationInput | undefined
  /** How often the holder checks and touches its lock files. Default 30 seconds. */
  readonly lockRecheckInterval?: Duration.DurationInput | undefined
  /** Deadline of one health probe. Default 1 second. */
  readonly healthProbeTimeout?: Duration.DurationInput | undefined
}

/**
 * The errors of a start.
 *
 * @since 0.1.0
 * @category errors
 */
export type StartError = PortInUse | BindFailed | LockHeld | LockUnavailable

/**
 * The running instance.
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
  /** Connections open now. */
  readonly connections: Effect.Effect<number>
  /** Completes when shutdown begins, with the reason. */
  readonly drainBegan: Effect.Effect<string>
  /** Never succeeds; fails when the lock is lost. `launch` races it for you. */
  readonly lost: Effect.Effect<never, LockLost>
}>() {}

/**
 * What a gateway needs from the machine. Live layers are in the modules of those names; `gateway-lock/testing` has them
 * in memory.
 *
 * @since 0.1.0
 * @category models
 */
export type Platform =
  | FileSystem.FileSystem
  | KernelLock.KernelLock
  | ProcessTable.ProcessTable
  | ProbeTransport.ProbeTransport
  | ServerSocket


/**
 * The half above the lock: listener, routes and the running instance.
 *
 * Apart, so that a program can load it only once it holds the lock.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerServing = (
  options: ListenerOptions
): Layer.Layer<
  Gateway | HttpServer.HttpServer,
  PortInUse | BindFailed,
  LockFile.LockFile | PortProbe.PortProbe | ServerSocket
> => {
  const Running = Layer.effect(
    Gateway,
    Effect.gen(function*() {
      const lock = yield* LockFile.LockFile
      const listener = yield* Listener.Listener
      const lifecycle = yield* Lifecycle.Lifecycle
      return Gateway.of({
        instanceId: lock.instanceId,
        address: listener.address,
        url: toUrl(listener.address),
        lockPath: lock.path,
        enforcement: lock.enforcement,
        record: lock.record,
        connections: listener.connections,
        drainBegan: lifecycle.drainBegan,
        lost: lock.lost
      })
    })
  )
  return Running.pipe(
    Layer.provideMerge(Listener.layer(options)),
    Layer.provide(GatewayRoutes.layer),
    Layer.provide(Lifecycle.layer)
  )
}

/**
 * Options that were given in code, checked against the settings' own rules. A wrong one is a mistake in the program, and
 * a defect: nothing that the program's user did can mend it.
 */
const checked = (options: GatewayOptions): Effect.Effect<void> =>
  Effect.gen(function*() {
    const refuse = (setting: string, value: unknown, allowed: string) =>
      Effect.die(new SettingInvalid({ setting, source: "GatewayOptions", value: JSON.stringify(value), allowed }))
    const { port, profile } = options
    if (port !== undefined && port !== 0 && Option.isNone(settings.port.decode(port))) {
      yield* refuse("port", port, `${settings.port.allowed}, or 0 for a free one`)
    }
    if (profile !== undefined && Option.isNone(settings.profile.decode(profile))) {
      yield* refuse("profile", profile, settings.profile.allowed)
    }
  })

/**
 * `layer`, on a platform of your own: in memory, in tests.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPlatform = (
  options: GatewayOptions = {}
): Layer.Layer<Gateway | HttpServer.HttpServer, StartError, Platform | PlatformFolders.PlatformFolders> =>
  Layer.unwrapEffect(Effect.gen(function*() {
    yield* checked(options)
    const folders = yield* PlatformFolders.PlatformFolders
    const profile = options.profile ?? defaultProfile
    const address = { host: options.host ?? defaultAddress.host, port: options.port ?? defaultAddress.port }
    const Lock = LockFile.layerWithProbes({
      address,
      configPath: yield* canonicalPath(options.configPath ?? folders.configPath(profile)),
      stateDir: yield* canonicalPath(options.stateDir ?? folders.stateDir(profile)),
      timeout: options.lockTimeout,
      pollInterval: options.lockPollInterval,
      staleAfter: options.lockStaleAfter,
      recheckInterval: options.lockRecheckInterval,
      healthProbeTimeout: options.healthProbeTimeout
    })
    return layerServing({ ...options, ...address }).pipe(Layer.provide(Lock))
  }))

/**
 * The operating system, as `layerPlatform` needs it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerNode: Layer.Layer<Platform | PlatformFolders.PlatformFolders> = Layer.mergeAll(
  KernelLock.layer,
  ProcessTable.layerLive,
  ProbeTransport.layer,
  NodeServerSocket.layer,
  PlatformFolders.layerLive
).pipe(Layer.provideMerge(NodeContext.layer))

/**
 * A singleton server: what `NodeHttpServer.layer` gives, and the running `Gateway`.
 *
 * Fails with `PortInUse` at once where the port is taken, `LockHeld` where the owner of this profile serves another
 * port or does not end within the lock timeout, `LockUnavailable` or `BindFailed` where the machine refuses. Release
 * drains, closes the listener and removes the lock files, in this order.
 *
 * A layer is shared by reference: call this once and keep the result in a constant, or two instances of one lock fight
 * each other.
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
  layerPlatform(options).pipe(
    Layer.provide(layerNode),
    Layer.merge(NodeHttpServer.layerContext)
  )

/**
 * `layer`, with its options from `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<GatewayOptions>
): Layer.Layer<
  Gateway | HttpServer.HttpServer | HttpPlatform.HttpPlatform | Etag.Generator | NodeContext.NodeContext,
  StartError | ConfigError.ConfigError
> => Layer.unwrapEffect(Effect.map(Config.unwrap(config), layer))

/**
 * `Layer.launch`, which also fails when the lock is lost, so that a gateway that is no longer the one shuts down in
 * order instead of serving on.
 *
 * @since 0.1.0
 * @category running
 */
export const launch = <ROut, E, R>(
  self: Layer.Layer<ROut | Gateway, E, R>
): Effect.Effect<never, E | LockLost, R> =>
  Effect.scoped(Effect.flatMap(Layer.build(self), (context) => Context.get(context, Gateway).lost))
