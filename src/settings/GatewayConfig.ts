/**
 * The settings of one start, resolved from flags, environment variables, the config file and defaults; and the table of
 * settings, which the command line, `--help` and the README follow.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as ConfigError from "effect/ConfigError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as NodePath from "node:path"
import { isLoopback } from "../Address.ts"
import { realPath } from "../host/NativeFiles.ts"
import { type FolderUnknown, PlatformFolders } from "../host/PlatformFolders.ts"
import { ancestors } from "../internal/ancestors.ts"
import * as LockFile from "../lock/LockFile.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"
import * as Listener from "../server/ListenerOptions.ts"
import type { ConnectionLimits } from "../server/ServerSocket.ts"
import * as TokenFile from "../server/TokenFile.ts"
import * as Recovery from "../supervisor/RecoveryOptions.ts"
import type { SupervisorKind } from "../supervisor/Supervisor.ts"
import * as ConfigFile from "./ConfigFile.ts"
import { type Given, SettingInvalid, showValue } from "./Setting.ts"
import { defaultAddress, defaultProfile, type LogFormat, settings } from "./SettingsTable.ts"
import * as Sources from "./Sources.ts"

export { ConfigFileInvalid } from "./ConfigFile.ts"
/** @internal */
export type { JsonSchema, Setting } from "./Setting.ts"
export { SettingInvalid } from "./Setting.ts"
export { defaultAddress, defaultProfile, type LogFormat } from "./SettingsTable.ts"
/** @internal */
export { settings } from "./SettingsTable.ts"

/**
 * How long a start waits for the lock, and how the holder keeps it.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockSettings {
  /** How long to wait for a lock whose owner does not serve our port. Default 5 seconds. */
  readonly timeout: Duration.Duration
  /** How often to try meanwhile. Default 100 milliseconds. */
  readonly pollInterval: Duration.Duration
  /** How old a record must be before it can be stale, without a kernel lock. Default 30 seconds. */
  readonly staleAfter: Duration.Duration
  /** How often the holder looks after its lock files. Default 30 seconds. */
  readonly recheckInterval: Duration.Duration
}

/**
 * How the health of an owner is asked, and for how long an unhealthy one is waited for.
 *
 * @since 0.1.0
 * @category models
 */
export interface HealthSettings {
  /** Deadline of one health probe. Default 1 second. */
  readonly probeTimeout: Duration.Duration
  /** Under a supervisor, between two attempts while the owner is not healthy. Default 5 seconds. */
  readonly retryInterval: Duration.Duration
  /** Under a supervisor, after which such an owner is given up on. Default 5 minutes. */
  readonly timeout: Duration.Duration
}

/**
 * The settings of one start, resolved: no default is left to be filled in.
 *
 * @since 0.1.0
 * @category models
 */
export interface GatewayConfig {
  /** 1 to 65535. Default 18789. */
  readonly port: number
  /** Default `127.0.0.1`. */
  readonly host: string
  /** Where the host came from, for a refusal. */
  readonly hostSource: string
  /** Default `default`. */
  readonly profile: string
  /** Names the lock. Canonical: absolute, links resolved as far as the path exists. Of a pipe: the profile's default. */
  readonly configPath: string
  /** The same path with its links unresolved. It still names this gateway when a link of it leads elsewhere. */
  readonly configName: string
  /** Who named the config file: `--config`, `GATEWAY_CONFIG` or `the default`. */
  readonly configSource: string
  /** Whether the config was read from a pipe, a terminal or a device. It cannot be read a second time. */
  readonly isConfigStream: boolean
  /** Absolute, links resolved as far as the path exists. */
  readonly stateDir: string
  /** How long a start waits for the lock, and how the holder keeps it. */
  readonly lock: LockSettings
  /** How the health of an owner is asked, and for how long an unhealthy one is waited for. */
  readonly health: HealthSettings
  /** Default `auto`: the one that can be proved. */
  readonly supervisor: "auto" | SupervisorKind
  /** How long requests in flight may take once shutdown has begun. Default 10 seconds. */
  readonly drainTimeout: Duration.Duration
  /** From the environment. `accessToken` reads the file. */
  readonly token: Option.Option<Redacted.Redacted>
  /** Absolute. Only where `token` does not go before it. */
  readonly tokenFile: Option.Option<string>
  /** In normal form, as the next one. */
  readonly allowedHosts: ReadonlyArray<string>
  readonly allowedOrigins: ReadonlyArray<string>
  /** Bounds for clients, those that have a setting. */
  readonly limits: Omit<ConnectionLimits, "pipelinedRequests" | "bufferedBytes">
  /** `None`: what fits the terminal. */
  readonly logFormat: Option.Option<LogFormat>
  /** The least severe that is logged. Default `info`. */
  readonly logLevel: LogLevel.LogLevel
}

type Problem = SettingInvalid | ConfigFile.ConfigFileInvalid | FolderUnknown | ConfigError.ConfigError

/**
 * An absolute path with its links resolved as far as it exists, and on macOS and Windows in the spelling of the file system: two
 * spellings of one file are one key.
 *
 * @internal
 */
export const canonicalPath = (path: string): Effect.Effect<string, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const absolute = NodePath.resolve(path)
    const missing: Array<string> = []
    for (const existing of [absolute, ...ancestors(absolute)]) {
      const real = yield* Effect.option(realPath(existing))
      if (Option.isSome(real)) return NodePath.join(real.value, ...missing.toReversed())
      missing.push(NodePath.basename(existing))
    }
    return absolute
  })

/** A config file before it is read. */
interface ConfigPlace {
  /** What is read, and what messages call it. */
  readonly readFrom: string
  readonly isStream: boolean
  readonly configPath: string
  readonly configName: string
  /** Who named it. */
  readonly namedBy: Option.Option<string>
}

const locateConfig = (
  flags: ReadonlyMap<string, string>,
  profile: string
): Effect.Effect<ConfigPlace, Problem, FileSystem.FileSystem | PlatformFolders> =>
  Effect.gen(function*() {
    const folders = yield* PlatformFolders
    const given = yield* Sources.outside(flags, settings.configPath)
    const named = yield* Sources.decoded(settings.configPath, given)
    const path = NodePath.resolve(Option.isSome(named) ? named.value : yield* folders.configPath(profile))
    const isStream = yield* ConfigFile.isStream(path)
    // What has no path of its own cannot name the lock.
    const configName = isStream ? NodePath.resolve(yield* folders.configPath(profile)) : path
    const configPath = yield* canonicalPath(configName)
    return {
      readFrom: isStream ? path : configPath,
      isStream,
      configPath,
      configName,
      namedBy: Option.map(given, ({ source }) => source)
    }
  })

/** The token, or the file that holds it. The flag of the file overrides both variables; to set both variables is refused. */
const tokenFrom = (flags: ReadonlyMap<string, string>, sources: Sources.Sources) =>
  Effect.gen(function*() {
    const isFileFlagged = settings.tokenFile.flag !== undefined && flags.has(settings.tokenFile.flag)
    const token = isFileFlagged ? Option.none() : yield* sources.optional(settings.token)
    const file = yield* sources.given(settings.tokenFile)
    if (Option.isSome(token) && Option.exists(file, ({ isInFile }) => isInFile !== true)) {
      return yield* new SettingInvalid({
        setting: settings.token.name,
        source: `${settings.token.env}`,
        value: "(not shown)",
        allowed: `no ${settings.tokenFile.env} beside it`
      })
    }
    return { token, tokenFileGiven: file }
  })

const limitsFrom = ({ or }: Sources.Sources) =>
  Effect.gen(function*() {
    const { limits } = Listener.defaults
    return {
      connections: yield* or(settings["limits.connections"], limits.connections),
      headersTimeout: yield* or(settings["limits.headersTimeout"], limits.headersTimeout),
      requestTimeout: yield* or(settings["limits.requestTimeout"], limits.requestTimeout),
      keepAliveTimeout: yield* or(settings["limits.keepAliveTimeout"], limits.keepAliveTimeout),
      headerBytes: yield* or(settings["limits.headerBytes"], limits.headerBytes),
      controlSockets: yield* or(settings["limits.controlSockets"], limits.controlSockets),
      frameBytes: yield* or(settings["limits.frameBytes"], limits.frameBytes),
      framesPerSecond: yield* or(settings["limits.framesPerSecond"], limits.framesPerSecond)
    }
  })

const lockFrom = ({ or }: Sources.Sources) =>
  Effect.gen(function*() {
    return {
      timeout: yield* or(settings["lock.timeout"], LockFile.defaults.lock.timeout),
      pollInterval: yield* or(settings["lock.pollInterval"], LockFile.defaults.lock.pollInterval),
      staleAfter: yield* or(settings["lock.staleAfter"], LockFile.defaults.lock.staleAfter),
      recheckInterval: yield* or(settings["lock.recheckInterval"], LockFile.defaults.lock.recheckInterval)
    }
  })

const healthFrom = ({ or }: Sources.Sources) =>
  Effect.gen(function*() {
    return {
      probeTimeout: yield* or(settings["health.probeTimeout"], HealthProbe.defaultTimeout),
      retryInterval: yield* or(settings["health.retryInterval"], Recovery.defaults.health.retryInterval),
      timeout: yield* or(settings["health.timeout"], Recovery.defaults.health.timeout)
    }
  })

/** The order of decoding matters: the first value that is not allowed is the one that is reported. */
const resolveWith = (
  flags: ReadonlyMap<string, string>,
  onFileProblem: ConfigFile.OnFileProblem
): Effect.Effect<GatewayConfig, Problem, FileSystem.FileSystem | PlatformFolders> =>
  Effect.gen(function*() {
    const folders = yield* PlatformFolders
    const profile = Option.getOrElse(
      yield* Sources.decoded(settings.profile, yield* Sources.outside(flags, settings.profile)),
      () => defaultProfile
    )
    const { configName, configPath, isStream, namedBy, readFrom } = yield* locateConfig(flags, profile)
    const file = yield* ConfigFile.read(readFrom, { isStream, namedBy }, onFileProblem)
    const sources = Sources.make(flags, file, onFileProblem)
    const { given, optional, or } = sources

    /** A path is relative to where it was written; a pipe is nowhere. */
    const fileFor = ({ isInFile }: Given, path: string) =>
      NodePath.resolve(isInFile === true && !isStream ? NodePath.dirname(configPath) : "", path)
    const hostGiven = yield* given(settings.host)
    const { token, tokenFileGiven } = yield* tokenFrom(flags, sources)
    const stateDirNamed = yield* optional(settings.stateDir)

    return {
      profile,
      configPath,
      configName,
      configSource: Option.getOrElse(namedBy, () => "the default"),
      isConfigStream: isStream,
      port: yield* or(settings.port, defaultAddress.port),
      host: yield* or(settings.host, defaultAddress.host),
      hostSource: Option.match(hostGiven, { onNone: () => "the default", onSome: ({ source }) => source }),
      token,
      tokenFile: Option.isSome(token)
        ? Option.none()
        : Option.zipWith(tokenFileGiven, yield* optional(settings.tokenFile), fileFor),
      allowedHosts: yield* or<ReadonlyArray<string>>(settings.allowedHosts, []),
      allowedOrigins: yield* or<ReadonlyArray<string>>(settings.allowedOrigins, []),
      limits: yield* limitsFrom(sources),
      stateDir: yield* canonicalPath(
        Option.isSome(stateDirNamed) ? stateDirNamed.value : yield* folders.stateDir(profile)
      ),
      lock: yield* lockFrom(sources),
      health: yield* healthFrom(sources),
      supervisor: yield* or<"auto" | SupervisorKind>(settings.supervisor, "auto"),
      drainTimeout: yield* or(settings.drainTimeout, Listener.defaults.drainTimeout),
      logFormat: yield* optional(settings.logFormat),
      logLevel: yield* or(settings.logLevel, LogLevel.Info)
    }
  })

/**
 * Resolves every setting: flag, then environment (through the current `ConfigProvider`), then config file, then default.
 *
 * Fails with the first value that is not allowed: `SettingInvalid` for a value, `ConfigFileInvalid` for the file, a
 * `ConfigError` where the provider cannot read a variable, `FolderUnknown` where a default folder is needed and this user
 * has no home folder. The default config file may be absent, one that was named must exist.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway, GatewayConfig } from "gateway-lock"
 *
 * const program = Effect.gen(function*() {
 *   const { host, port } = yield* GatewayConfig.resolve(new Map([["profile", "blue"]]))
 *   yield* Effect.log(`profile blue is to listen on ${host}:${port}`)
 * }).pipe(
 *   Effect.catchTag("SettingInvalid", (error) => Effect.logError(error.message)),
 *   Effect.provide(Gateway.layerNode)
 * )
 *
 * @since 0.1.0
 * @category constructors
 */
export const resolve = (
  flags: ReadonlyMap<string, string>
): Effect.Effect<GatewayConfig, Problem, FileSystem.FileSystem | PlatformFolders> => resolveWith(flags, Effect.fail)

/**
 * What could be read, and what was passed over.
 *
 * @since 0.1.0
 * @category models
 */
export interface LenientConfig {
  readonly config: GatewayConfig
  /** Of the config file, in its order. */
  readonly problems: ReadonlyArray<SettingInvalid | ConfigFile.ConfigFileInvalid>
}

/**
 * As `resolve`, for a command that only looks: what a config file gets wrong is passed over and told of, and the rest
 * of it, where it can be read at all, still counts. A flag or a variable that is not allowed fails as ever.
 *
 * @since 0.1.0
 * @category constructors
 */
export const resolveLenient = (
  flags: ReadonlyMap<string, string>
): Effect.Effect<
  LenientConfig,
  Problem,
  FileSystem.FileSystem | PlatformFolders
> =>
  Effect.gen(function*() {
    const problems: Array<ConfigFile.FileProblem> = []
    const config = yield* resolveWith(flags, (problem) => Effect.sync(() => problems.push(problem)))
    return { config, problems }
  })

/** What a host that others can reach lacks. */
const exposed = (config: Pick<GatewayConfig, "host" | "hostSource">) =>
  new SettingInvalid({
    setting: settings.host.name,
    source: config.hostSource,
    value: showValue(config.host),
    allowed: "a loopback host (localhost, 127.0.0.0/8 or ::1), or a token besides: "
      + `--${settings.tokenFile.flag}, ${settings.tokenFile.env} or ${settings.token.env}`
  })

/**
 * Fails with `SettingInvalid` where others can reach the host and no token is named. Reads no file.
 *
 * @internal
 */
export const checkExposure = (
  config: Pick<GatewayConfig, "host" | "hostSource" | "token" | "tokenFile">
): Effect.Effect<void, SettingInvalid> =>
  isLoopback(config.host) || Option.isSome(config.token) || Option.isSome(config.tokenFile)
    ? Effect.void
    : exposed(config)

/**
 * What a service definition needs of the settings: fails with `SettingInvalid` as `checkExposure` does, and with
 * `ConfigFileInvalid` where the config is a pipe, which the service could not read again.
 *
 * @internal
 */
export const checkService = (
  config: Pick<
    GatewayConfig,
    "configSource" | "configName" | "isConfigStream" | "host" | "hostSource" | "token" | "tokenFile"
  >
): Effect.Effect<void, SettingInvalid | ConfigFile.ConfigFileInvalid> =>
  config.isConfigStream && config.configSource !== "the default"
    ? new ConfigFile.ConfigFileInvalid({
      path: config.configName,
      reason: `${config.configSource} names a pipe or a device, which a service cannot read again; name a regular file`
    })
    : checkExposure(config)

/**
 * The token, from the environment or its file. Fails with `SettingInvalid` where others can reach the host and there is
 * none, and with `TokenFileInvalid` where the file cannot be used.
 *
 * @internal
 */
export const accessToken = (
  config: Pick<GatewayConfig, "host" | "hostSource" | "token" | "tokenFile">
): Effect.Effect<
  Option.Option<Redacted.Redacted>,
  SettingInvalid | TokenFile.TokenFileInvalid,
  FileSystem.FileSystem
> =>
  Effect.zipRight(
    checkExposure(config),
    Option.match(config.tokenFile, {
      onNone: () => Effect.succeed(config.token),
      onSome: (path) => Effect.asSome(TokenFile.read(path))
    })
  )
