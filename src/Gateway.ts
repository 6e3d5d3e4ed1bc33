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
import * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as NodePath from "node:path"
import { type Address, isLoopback } from "./Address.ts"
import { Gateway, launch, layerLost, layerServing, readiness, whileHeld } from "./gateway/GatewayInstance.ts"
import type { BindFailed, LockHeld, LockUnavailable, PortInUse } from "./GatewayLockError.ts"
import * as KernelLock from "./host/KernelLock.ts"
import * as OpenLockFiles from "./host/OpenLockFiles.ts"
import * as PlatformFolders from "./host/PlatformFolders.ts"
import * as PortOwners from "./host/PortOwners.ts"
import * as ProbeTransport from "./host/ProbeTransport.ts"
import * as ProcessTable from "./host/ProcessTable.ts"
import * as Signals from "./host/Signals.ts"
import * as GatewayStatus from "./inspect/GatewayStatus.ts"
import { keepInterruption } from "./internal/keepInterruption.ts"
import * as LockFile from "./lock/LockFile.ts"
import * as LockInspection from "./lock/LockInspection.ts"
import * as Neighbours from "./page/Neighbours.ts"
import * as HealthProbe from "./probe/HealthProbe.ts"
import * as OwnerWatch from "./probe/OwnerWatch.ts"
import * as PortProbe from "./probe/PortProbe.ts"
import * as AccessToken from "./server/AccessToken.ts"
import { defaults as listenerDefaults, type ListenerOptions, longestTimer } from "./server/ListenerOptions.ts"
import * as NodeServerSocket from "./server/node/NodeServerSocket.ts"
import * as OwnPaths from "./server/OwnPaths.ts"
import type { ServerSocket } from "./server/ServerSocket.ts"
import { canonicalPath, defaultAddress, defaultProfile, SettingInvalid, settings } from "./settings/GatewayConfig.ts"
import * as StopOwner from "./stop/StopOwner.ts"

export { Gateway, launch, layerLost, layerServing, readiness, whileHeld }

/**
 * Everything a gateway can be told. All optional. Times may be given in any form of `Duration.DurationInput`; a number is
 * milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface GatewayOptions extends Partial<Omit<ListenerOptions, "host" | "port">> {
  /** Base port, default 18789. 0 takes a free one. */
  readonly port?: number | undefined
  /**
   * Host to bind, default `127.0.0.1`. One that is not loopback is refused without a `token`, which keeps strangers from the
   * control socket; who has no use for that gives a random one. Your own routes are as open as you make them.
   */
  readonly host?: string | undefined
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
  /** How often the holder checks its lock files, makes lost ones again where that is safe, and keeps them young. Default 30 seconds. */
  readonly lockRecheckInterval?: Duration.DurationInput | undefined
  /** Deadline of one health probe. Default 1 second. */
  readonly healthProbeTimeout?: Duration.DurationInput | undefined
  /**
   * Moves some of the gateway's own routes, or leaves their paths to the app: `{ "/health": false, "/": "/control" }`. Default: all at
   * their paths, and an app's routes there are not reached.
   */
  readonly routes?: OwnPaths.OwnPaths | undefined
}

/**
 * Which gateway to look at, and how patiently. All optional, with the same defaults.
 *
 * @since 0.1.0
 * @category models
 */
export type InspectOptions = Pick<
  GatewayOptions,
  "port" | "host" | "profile" | "configPath" | "stateDir" | "healthProbeTimeout"
>

/**
 * The errors of a start, by `_tag`; `layer` says when each comes. A lock that is lost later is `LockLost`, from `launch`.
 *
 * @since 0.1.0
 * @category errors
 */
export type StartError = PortInUse | BindFailed | LockHeld | LockUnavailable

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

const refuse = (setting: string, value: unknown, allowed: string) =>
  new SettingInvalid({ setting, source: "GatewayOptions", value: JSON.stringify(value), allowed })

/** Options checked against the settings' own rules. */
const checkName = ({ port, profile }: Pick<GatewayOptions, "port" | "profile">): Effect.Effect<void, SettingInvalid> =>
  Effect.gen(function*() {
    if (port !== undefined && port !== 0 && Option.isNone(settings.port.decode(port))) {
      yield* refuse("port", port, `${settings.port.allowed}, or 0 for a free one`)
    }
    if (profile !== undefined && Option.isNone(settings.profile.decode(profile))) {
      yield* refuse("profile", profile, settings.profile.allowed)
    }
  })

/** The same for those that say who may ask: of no concern to who only looks. */
const checkAccess = (
  { allowedHosts = [], allowedOrigins = [], host, routes = {}, token }: GatewayOptions
): Effect.Effect<void, SettingInvalid> =>
  Effect.gen(function*() {
    if (host !== undefined && !isLoopback(host) && token === undefined) {
      yield* refuse("host", host, "a loopback host, or a token besides")
    }
    if (!OwnPaths.isAllowed(routes)) yield* refuse("routes", routes, OwnPaths.allowed)
    const fault = token === undefined
      ? Option.none()
      : AccessToken.fault(AccessToken.withoutLineEnd(Redacted.value(token)))
    if (Option.isSome(fault)) yield* refuse("token", "(not shown)", `${AccessToken.allowed}; ${fault.value}`)
    for (
      const [name, values, setting] of [
        ["allowedHosts", allowedHosts, settings.allowedHosts],
        ["allowedOrigins", allowedOrigins, settings.allowedOrigins]
      ] as const
    ) {
      if (Option.isNone(setting.decode(values))) yield* refuse(name, values, setting.allowed)
    }
  })

/** Times after which something happens again, or is given up on: neither at once nor never. */
const bounded = {
  allowed: "a duration above 0, of 24 days at most",
  isAllowed: (time: Duration.Duration) => Duration.between(time, { minimum: Duration.nanos(1n), maximum: longestTimer })
}

/** The times of `node:http`. */
const orUnlimited = {
  allowed: "a duration of 24 days at most, or 0 for no limit",
  isAllowed: (time: Duration.Duration) => Duration.lessThanOrEqualTo(time, longestTimer)
}

const wholeNumber = { allowed: "a whole number above 0", isAllowed: (n: number) => Number.isSafeInteger(n) && n > 0 }

/** Times and counts: without this, Node throws at some of them, and others make a busy loop. */
const checkBounds = (options: GatewayOptions): Effect.Effect<void, SettingInvalid> =>
  Effect.gen(function*() {
    for (
      const [name, rule] of [
        ["lockPollInterval", bounded],
        ["lockStaleAfter", bounded],
        ["lockRecheckInterval", bounded],
        ["healthProbeTimeout", bounded],
        ["headersTimeout", orUnlimited],
        ["requestTimeout", orUnlimited],
        ["keepAliveTimeout", orUnlimited]
      ] as const
    ) {
      const value = options[name]
      if (value === undefined) continue
      const time = Duration.decode(value)
      if (!rule.isAllowed(time)) yield* refuse(name, Duration.format(time), rule.allowed)
    }
    for (
      const name of [
        "maxConnections",
        "maxHeaderBytes",
        "maxPipelinedRequests",
        "maxControlSockets",
        "maxFrameBytes",
        "maxFramesPerSecond",
        "maxBufferedBytes"
      ] as const
    ) {
      const value = options[name]
      if (value !== undefined && !wholeNumber.isAllowed(value)) yield* refuse(name, value, wholeNumber.allowed)
    }
  })

const wholeNumbers = [
  ["maxConnections", settings.maxConnections],
  ["maxHeaderBytes", settings.maxHeaderBytes],
  ["maxControlSockets", settings.maxControlSockets],
  ["maxFrameBytes", settings.maxFrameBytes],
  ["maxFramesPerSecond", settings.maxFramesPerSecond]
] as const

const durations = [
  ["lockTimeout", settings.lockTimeout],
  ["lockPollInterval", settings.lockPollInterval],
  ["lockStaleAfter", settings.lockStaleAfter],
  ["lockRecheckInterval", settings.lockRecheckInterval],
  ["healthProbeTimeout", settings.healthProbeTimeout],
  ["drainTimeout", settings.drainTimeout],
  ["headersTimeout", settings.headersTimeout],
  ["requestTimeout", settings.requestTimeout],
  ["keepAliveTimeout", settings.keepAliveTimeout]
] as const

/** The first descriptor behind the standard streams. */
const firstPassedSocket = 3

/** Options that a program's user gives: within the bounds of the program's settings, where there is such a setting. */
const checkGiven = (options: GatewayOptions): Effect.Effect<void, SettingInvalid> =>
  Effect.gen(function*() {
    yield* checkName(options)
    for (const name of ["host", "configPath", "stateDir"] as const) {
      const value = options[name]
      if (value !== undefined && Option.isNone(settings[name].decode(value))) {
        yield* refuse(name, value, settings[name].allowed)
      }
    }
    for (const [name, setting] of wholeNumbers) {
      const value = options[name]
      if (value !== undefined && Option.isNone(setting.decode(value))) yield* refuse(name, value, setting.allowed)
    }
    const { passedSocket } = options
    if (passedSocket !== undefined && !(Number.isSafeInteger(passedSocket) && passedSocket >= firstPassedSocket)) {
      yield* refuse("passedSocket", passedSocket, `a whole number of at least ${firstPassedSocket}`)
    }
    for (const [name, setting] of durations) {
      const value = options[name]
      if (value === undefined) continue
      const duration = Duration.decode(value)
      if (Option.isNone(setting.decode(`${Duration.toMillis(duration)} millis`))) {
        yield* refuse(name, Duration.format(duration), setting.allowed)
      }
    }
    // What the program has no setting for.
    yield* checkBounds(options)
    yield* checkAccess(options)
  })

/** Which gateway these options name. */
const identified = (
  options: InspectOptions
): Effect.Effect<
  {
    readonly profile: string
    readonly address: Address
    readonly configPath: string
    readonly configName: string
    readonly stateDir: string
  },
  never,
  FileSystem.FileSystem | PlatformFolders.PlatformFolders
> =>
  Effect.gen(function*() {
    // A wrong option that was given in code is a mistake in the program: nothing that its user did can mend it.
    yield* Effect.orDie(checkName(options))
    const folders = yield* PlatformFolders.PlatformFolders
    const profile = options.profile ?? defaultProfile
    const configName = NodePath.resolve(options.configPath ?? (yield* folders.configPath(profile)))
    return {
      profile,
      address: { host: options.host ?? defaultAddress.host, port: options.port ?? defaultAddress.port },
      configPath: yield* canonicalPath(configName),
      configName,
      stateDir: yield* canonicalPath(options.stateDir ?? (yield* folders.stateDir(profile)))
    }
  }).pipe(
    // As for a wrong option: the program that needs no default names the folders.
    Effect.catchTag("FolderUnknown", Effect.die)
  )

/**
 * `layer`, on a platform of your own: in memory, in tests.
 *
 * Fails as `layer` does. A wrong option is a defect, `SettingInvalid`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPlatform = (
  options: GatewayOptions = {}
): Layer.Layer<Gateway | HttpServer.HttpServer, StartError, Platform | PlatformFolders.PlatformFolders> =>
  Layer.unwrapEffect(Effect.gen(function*() {
    yield* Effect.orDie(Effect.zipRight(checkAccess(options), checkBounds(options)))
    const { address, configName, configPath, profile, stateDir } = yield* identified(options)
    const Lock = LockFile.layerWithProbes({
      address,
      configPath,
      configName,
      stateDir,
      timeout: options.lockTimeout,
      pollInterval: options.lockPollInterval,
      staleAfter: options.lockStaleAfter,
      recheckInterval: options.lockRecheckInterval,
      healthProbeTimeout: options.healthProbeTimeout,
      isPassedSocket: options.passedSocket !== undefined
    })
    return layerServing({ ...options, ...address, profile }).pipe(Layer.provide(Lock))
  }))

/**
 * The operating system, as `layerPlatform` and every part alone need it: what the simulated host gives in memory.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway, LockFile } from "gateway-lock"
 *
 * // Parts alone need it as well: here, who has the lock of another app.
 * const owner = LockFile.readOwner("/var/lib/importer/locks/gateway.state.lock").pipe(
 *   Effect.provide(Gateway.layerNode)
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layerNode: Layer.Layer<
  | Platform
  | PlatformFolders.PlatformFolders
  | OwnerWatch.OwnerWatch
  | PortOwners.PortOwners
  | OpenLockFiles.OpenLockFiles
  | Signals.Signals
  | NodeContext.NodeContext
> = Layer.mergeAll(
  KernelLock.layerLive,
  ProcessTable.layerLive,
  ProbeTransport.layerLive,
  OwnerWatch.layerLive,
  NodeServerSocket.layer,
  PlatformFolders.layerLive,
  PortOwners.layerLive,
  OpenLockFiles.layerLive,
  Signals.layerLive
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
 * A wrong option (a port out of range, an open host without a token) is a defect, `SettingInvalid`: it is a mistake in the
 * program.
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
    Layer.provide(Neighbours.layerLive),
    Layer.provide(layerNode),
    Layer.merge(NodeHttpServer.layerContext)
  )

/**
 * `layer`, with its options from `Config`. Fails with `ConfigError` besides, where a value is missing, cannot be read or is not
 * allowed: `InvalidData` at the option's name. The program's settings have the same bounds.
 *
 * @example
 * import { Config } from "effect"
 * import { Gateway } from "gateway-lock"
 *
 * const Main = Gateway.layerConfig({
 *   port: Config.port("PORT").pipe(Config.withDefault(18789)),
 *   stateDir: Config.string("STATE_DIRECTORY"),
 *   drainTimeout: Config.duration("DRAIN_TIMEOUT").pipe(Config.withDefault("10 seconds"))
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
    Config.unwrap(config).pipe(
      Effect.tap(checkGiven),
      Effect.catchTag("SettingInvalid", ({ allowed, setting, value }) =>
        Effect.fail(ConfigError.InvalidData([setting], `${value}, expected ${allowed}`))),
      Effect.map(layer)
    )
  )

/**
 * `inspect`, on a platform of your own: in memory, in tests.
 *
 * Never fails; a wrong option is a defect, `SettingInvalid`.
 *
 * @since 0.1.0
 * @category reading
 */
export const inspectPlatform = (
  options: InspectOptions = {}
): Effect.Effect<GatewayStatus.GatewayStatus, never, GatewayStatus.Requirements> =>
  Effect.flatMap(
    identified(options),
    ({ address, configName, configPath, profile, stateDir }) =>
      GatewayStatus.inspect({
        ...address,
        profile,
        configPath,
        configName,
        stateDir,
        healthProbeTimeout: options.healthProbeTimeout
      })
  )

/**
 * Who holds what of the gateway that these options name, and is it well? For a launcher, which may start it or use it.
 *
 * Changes nothing, never fails, and takes two health probes at most. A wrong option is a defect, as for `layer`.
 *
 * @example
 * import { Console, Effect } from "effect"
 * import { Gateway } from "gateway-lock"
 *
 * const program = Effect.gen(function*() {
 *   const { owner, port, verdict } = yield* Gateway.inspect({ profile: "blue" })
 *   if (verdict === "running") yield* Console.log(`pid ${owner?.pid} on port ${port?.port}`)
 * })
 *
 * @since 0.1.0
 * @category reading
 */
export const inspect = (options: InspectOptions = {}): Effect.Effect<GatewayStatus.GatewayStatus> =>
  Effect.provide(inspectPlatform(options), layerNode)

/**
 * Which gateway to end, and how. All optional, with the same defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface StopOptions extends InspectOptions, Pick<GatewayOptions, "drainTimeout"> {
  /** How long the owner may take after SIGTERM. Default: its drain timeout, as far as `drainTimeout` tells, and 5 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /** SIGKILL after that. Default `false`. */
  readonly force?: boolean | undefined
  /** Told every 3 seconds what is waited for. */
  readonly onWaiting?: StopOwner.StopOptions["onWaiting"]
}

/**
 * `stop`, on a platform of your own: in memory, in tests.
 *
 * Fails as `stop` does.
 *
 * @since 0.1.0
 * @category running
 */
export const stopPlatform = (
  options: StopOptions = {}
): Effect.Effect<
  StopOwner.Outcome,
  StopOwner.StopError,
  Platform | PlatformFolders.PlatformFolders | PortOwners.PortOwners | Signals.Signals
> =>
  Effect.gen(function*() {
    yield* keepInterruption
    const { address, configName, configPath, profile, stateDir } = yield* identified(options)
    return yield* StopOwner.stop({
      path: yield* LockInspection.lockPathOf({ configName, configPath, stateDir }),
      address,
      profile,
      timeout: options.timeout
        ?? Duration.sum(options.drainTimeout ?? listenerDefaults.drainTimeout, StopOwner.defaults.margin),
      force: options.force,
      onWaiting: options.onWaiting
    }).pipe(
      Effect.provide(PortProbe.layer),
      Effect.provide(HealthProbe.layer({ timeout: options.healthProbeTimeout }))
    )
  })

/**
 * Ends the running gateway that these options name, and nobody else: its pid, start time, boot and lock are verified
 * immediately before each signal. Completes when the lock is free and the port closed, so that a start can follow; with
 * `NotRunning`, where there was nothing to end.
 *
 * Fails with `OwnerUnverified` where it cannot be told that this process is the gateway (nobody was signalled),
 * `OwnerSupervised` where its supervisor would start it again, `OwnerNotEnded` where it did not end in time. A wrong option
 * is a defect, as for `layer`.
 *
 * @example
 * import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
 * import { Effect, Layer } from "effect"
 * import { Gateway } from "gateway-lock"
 *
 * const Main = HttpServer.serve(HttpRouter.get(HttpRouter.empty, "/", HttpServerResponse.text("version 2"))).pipe(
 *   Layer.provideMerge(Gateway.layer({ port: 18789 }))
 * )
 *
 * // The next version takes the place of the present one.
 * const program = Effect.zipRight(Gateway.stop({ port: 18789 }), Gateway.launch(Main))
 *
 * @since 0.1.0
 * @category running
 */
export const stop = (options: StopOptions = {}): Effect.Effect<StopOwner.Outcome, StopOwner.StopError> =>
  Effect.provide(stopPlatform(options), layerNode)
