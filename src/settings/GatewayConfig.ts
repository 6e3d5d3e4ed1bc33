/**
 * Resolves the settings for one start of a gateway from flags, environment variables, the config file and defaults. Also exports
 * the table of settings, from which the command line and `--help` are made.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as ConfigError from "effect/ConfigError"
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
import * as TokenFile from "../server/TokenFile.ts"
import * as Recovery from "../supervisor/RecoveryOptions.ts"
import type { SupervisorKind } from "../supervisor/Supervisor.ts"
import * as ConfigFile from "./ConfigFile.ts"
import * as LeaseSettings from "./LeaseSettings.ts"
import type { GatewayConfig } from "./ResolvedSettings.ts"
import { type Given, type LeaseTimesInvalid, SettingInvalid, showValue } from "./Setting.ts"
import { defaultAddress, defaultProfile, settings } from "./SettingsTable.ts"
import * as Sources from "./Sources.ts"

export { ConfigFileInvalid } from "./ConfigFile.ts"
export { type LeaseSettings, LeaseUrlFileInvalid } from "./LeaseSettings.ts"
/** @internal */
export { isLeased, leaseUrl, releaseTimeout } from "./LeaseSettings.ts"
export type { GatewayConfig, HealthSettings, LockSettings } from "./ResolvedSettings.ts"
/** @internal */
export type { JsonSchema, Setting } from "./Setting.ts"
export { LeaseTimesInvalid, SettingInvalid } from "./Setting.ts"
export { defaultAddress, defaultProfile, type LogFormat } from "./SettingsTable.ts"
/** @internal */
export { settings } from "./SettingsTable.ts"

type Problem =
  | SettingInvalid
  | LeaseTimesInvalid
  | ConfigFile.ConfigFileInvalid
  | FolderUnknown
  | ConfigError.ConfigError

/**
 * The canonical form of a path: absolute, with symbolic links resolved as far as the path exists. On macOS and Windows, the
 * file system ignores case, so the canonical form has upper and lower case as the file system stores them. Two spellings of
 * one path therefore lead to the same lock.
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
  /** The flag or environment variable that names the file; `None` for the default file. */
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
    // The name of the lock file comes from the path of the config file. A pipe has no lasting path. So for a pipe, the name comes
    // from the path of the profile's default config file.
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
 * Returns the token, or the file that contains it. `--token-file` overrides `GATEWAY_TOKEN` and `GATEWAY_TOKEN_FILE`. Fails with
 * `SettingInvalid` if both of these variables are set.
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

/**
 * Resolves every setting. If several values are not allowed, only the first one that is decoded is reported. So the order of
 * decoding decides which error the user sees.
 */
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

    /**
     * Resolves a path. A relative path in a config file starts at the folder of that file. A pipe has no folder, so a relative
     * path that comes from a pipe starts at the working directory.
     */
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
      lease: yield* LeaseSettings.from({ flags, sources, profile, fileFor }, onFileProblem),
      logFormat: yield* optional(settings.logFormat),
      logLevel: yield* or(settings.logLevel, LogLevel.Info)
    }
  })

/**
 * Resolves every setting. Precedence: flag, environment variable (through the current `ConfigProvider`), config file, default.
 * The default config file may be absent. A config file that a flag or an environment variable names must exist.
 *
 * Fails with the first error:
 *
 * - `SettingInvalid`: a value is not allowed.
 * - `ConfigFileInvalid`: the config file cannot be used.
 * - `ConfigError`: the `ConfigProvider` cannot read a variable.
 * - `LeaseTimesInvalid`: the times of the lease do not fit together.
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
 * The resolved settings, and the problems of the config file that were ignored. Each invalid value is replaced by its default.
 *
 * @since 0.1.0
 * @category models
 */
export interface LenientConfig {
  readonly config: GatewayConfig
  /** The problems of the config file, in the order in which they were found. */
  readonly problems: ReadonlyArray<SettingInvalid | LeaseTimesInvalid | ConfigFile.ConfigFileInvalid>
}

/**
 * Resolves the settings for a command that does not start a gateway, such as `status`. It works like `resolve`, but it collects
 * the problems of the config file and does not fail with them. The valid values in the file are used all the same. A flag or
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

/** Makes the error for the case that other machines can reach the host, but no token is configured. */
const exposed = (config: Pick<GatewayConfig, "host" | "hostSource">) =>
  new SettingInvalid({
    setting: settings.host.name,
    source: config.hostSource,
    value: showValue(config.host),
    allowed: "a loopback host (localhost, 127.0.0.0/8 or ::1), or another host with a token: "
      + `--${settings.tokenFile.flag}, ${settings.tokenFile.env} or ${settings.token.env}`
  })

/**
 * Fails with `SettingInvalid` if other machines can reach the host and no token is configured. Does not read the token
 * file.
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
 * Fails with `ConfigFileInvalid` if the config file is a pipe or a device, because a service could not read it again.
 *
 * @internal
 */
export const checkConfigKind = (
  config: Pick<GatewayConfig, "configSource" | "configName" | "isConfigStream">
): Effect.Effect<void, ConfigFile.ConfigFileInvalid> =>
  config.isConfigStream && config.configSource !== "the default"
    ? new ConfigFile.ConfigFileInvalid({
      path: config.configName,
      reason: `${config.configSource} names a pipe or a device, which a service cannot read again; name a regular file`
    })
    : Effect.void

/**
 * Fails under the same conditions as `checkConfigKind` and `checkExposure`, for a gateway that is to run as a service.
 *
 * @internal
 */
export const checkService = (
  config: Parameters<typeof checkConfigKind>[0] & Parameters<typeof checkExposure>[0]
): Effect.Effect<void, Problem> => Effect.zipRight(checkConfigKind(config), checkExposure(config))

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
