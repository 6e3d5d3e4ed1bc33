/**
 * Resolves the settings of one start from flags, environment variables, the config file and defaults. Also exports the
 * table of settings, which the command line, `--help` and the README follow.
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
  /** How long to wait for the lock while its owner does not serve this gateway's port. Default 5 seconds. */
  readonly timeout: Duration.Duration
  /** The time between two attempts to acquire the lock during that wait. Default 100 milliseconds. */
  readonly pollInterval: Duration.Duration
  /** The minimum age of a stale record, if there is no kernel lock. Default 30 seconds. */
  readonly staleAfter: Duration.Duration
  /** How often the holder checks its lock files. Default 30 seconds. */
  readonly recheckInterval: Duration.Duration
}

/**
 * How the health of an owner is probed, and how long a start waits for an unhealthy owner.
 *
 * @since 0.1.0
 * @category models
 */
export interface HealthSettings {
  /** Time limit of one health probe. Default 1 second. */
  readonly probeTimeout: Duration.Duration
  /** Under a supervisor, the time between two attempts to start while the owner is not healthy. Default 5 seconds. */
  readonly retryInterval: Duration.Duration
  /** Under a supervisor, how long a start waits for an owner that is not healthy. Default 5 minutes. */
  readonly timeout: Duration.Duration
}

/**
 * The resolved settings of one start, with every default filled in.
 *
 * @since 0.1.0
 * @category models
 */
export interface GatewayConfig {
  /** 1 to 65535. Default 18789. */
  readonly port: number
  /** Default `127.0.0.1`. */
  readonly host: string
  /** Where the host came from, for error messages: `--host`, `GATEWAY_HOST`, a key of the config file or `the default`. */
  readonly hostSource: string
  /** Default `default`. */
  readonly profile: string
  /**
   * The path that names the lock. It is absolute, with symbolic links resolved as far as the path exists. For a pipe, it is
   * the path of the profile's default config file.
   */
  readonly configPath: string
  /** The same path without resolving links. It still names this gateway after a symbolic link in it changes its target. */
  readonly configName: string
  /** Where the config path came from: `--config`, `GATEWAY_CONFIG` or `the default`. */
  readonly configSource: string
  /** Whether the config was read from a pipe, a terminal or a device. It cannot be read a second time. */
  readonly isConfigStream: boolean
  /** An absolute path, with symbolic links resolved as far as it exists. */
  readonly stateDir: string
  /** How long a start waits for the lock, and how the holder keeps it. */
  readonly lock: LockSettings
  /** How the health of an owner is probed, and how long a start waits for an unhealthy owner. */
  readonly health: HealthSettings
  /** Default `auto`: the supervisor that can be proved. */
  readonly supervisor: "auto" | SupervisorKind
  /** How long requests in flight may take once shutdown has begun. Default 10 seconds. */
  readonly drainTimeout: Duration.Duration
  /** The token from the environment. `accessToken` reads the token from a file. */
  readonly token: Option.Option<Redacted.Redacted>
  /** An absolute path; `None` if `token` is set, which has precedence. */
  readonly tokenFile: Option.Option<string>
  /** Further hosts to accept, in normal form. */
  readonly allowedHosts: ReadonlyArray<string>
  /** Further origins to accept, in normal form. */
  readonly allowedOrigins: ReadonlyArray<string>
  /** The limits for clients that have a setting. */
  readonly limits: Omit<ConnectionLimits, "pipelinedRequests" | "bufferedBytes">
  /** `None`: `pretty` on a terminal, else `logfmt`. */
  readonly logFormat: Option.Option<LogFormat>
  /** The lowest severity that is logged. Default `info`. */
  readonly logLevel: LogLevel.LogLevel
}

type Problem = SettingInvalid | ConfigFile.ConfigFileInvalid | FolderUnknown | ConfigError.ConfigError

/**
 * The canonical form of a path: absolute, with symbolic links resolved as far as the path exists. On macOS and Windows, it
 * has the spelling of the file system. Two spellings of one path therefore name one lock.
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

/** The location of a config file, before it is read. */
interface ConfigPlace {
  /** The path to read, which error messages show as well. */
  readonly readFrom: string
  readonly isStream: boolean
  readonly configPath: string
  readonly configName: string
  /** The flag or variable that names the file; `None` for the default file. */
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
    // A pipe has no path that could name the lock, so the default path of the profile names it.
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

/**
 * The token, or the file that contains it. `--token-file` overrides `GATEWAY_TOKEN` and `GATEWAY_TOKEN_FILE`. Fails with
 * `SettingInvalid` if both variables are set.
 */
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
        allowed: `only one of ${settings.token.env} and ${settings.tokenFile.env}`
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

/** Resolves every setting. The order of decoding matters, because the first value that is not allowed is reported. */
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

    /** A path in a config file is relative to that file. A pipe has no folder, so there the working directory counts. */
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
 * Resolves every setting. Precedence: flag, environment variable (through the current `ConfigProvider`), config file,
 * default. The default config file may be absent. A config file that is named must exist.
 *
 * Fails with the first error:
 *
 * - `SettingInvalid`: a value is not allowed.
 * - `ConfigFileInvalid`: the config file cannot be used.
 * - `ConfigError`: the provider cannot read a variable.
 * - `FolderUnknown`: a default folder is needed, and this user has no home folder.
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
 * The settings that could be read, and the problems of the config file that were ignored.
 *
 * @since 0.1.0
 * @category models
 */
export interface LenientConfig {
  readonly config: GatewayConfig
  /** The problems of the config file, in the order in which they were found. */
  readonly problems: ReadonlyArray<SettingInvalid | ConfigFile.ConfigFileInvalid>
}

/**
 * Resolves the settings for a command that does not start a gateway, such as `status`. It works like `resolve`, but
 * collects the problems of the config file instead of failing. The valid values in the file still count. A flag or
 * variable that is not allowed fails as in `resolve`.
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

/** The error for a host that other machines can reach, without a token. */
const exposed = (config: Pick<GatewayConfig, "host" | "hostSource">) =>
  new SettingInvalid({
    setting: settings.host.name,
    source: config.hostSource,
    value: showValue(config.host),
    allowed: "a loopback host (localhost, 127.0.0.0/8 or ::1), or another host with a token: "
      + `--${settings.tokenFile.flag}, ${settings.tokenFile.env} or ${settings.token.env}`
  })

/**
 * Refuses a host that other machines can reach if no token is configured. Fails with `SettingInvalid`. Reads no file.
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
 * Checks that a service can run with these settings. Fails with `SettingInvalid` as `checkExposure` does. Fails with
 * `ConfigFileInvalid` if the config is a pipe, which the service could not read again.
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
 * Reads the access token from the environment or from its file. Fails with `SettingInvalid` if other machines can reach
 * the host and there is no token. Fails with `TokenFileInvalid` if the file cannot be used.
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
