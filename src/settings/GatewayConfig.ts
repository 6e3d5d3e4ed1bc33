/**
 * The settings: what each is called on the command line, in the environment and in the config file, what it may be, and
 * where a value came from. One table; the command line, `--help` and the README's table follow it.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as NodePath from "node:path"
import { isLoopback } from "../Address.ts"
import { realPath } from "../host/NativeFiles.ts"
import { type FolderUnknown, PlatformFolders } from "../host/PlatformFolders.ts"
import { ancestors } from "../internal/ancestors.ts"
import { describePlatformError, isNotFound } from "../internal/describeError.ts"
import * as DurationText from "../internal/durationText.ts"
import { jsonFault } from "../internal/jsonFault.ts"
import { printable } from "../internal/printable.ts"
import { readStream } from "../internal/readStream.ts"
import * as LockFile from "../lock/LockFile.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"
import { allowedHost, allowedOrigin, any } from "../server/Access.ts"
import * as AccessToken from "../server/AccessToken.ts"
import * as Listener from "../server/ListenerOptions.ts"
import * as TokenFile from "../server/TokenFile.ts"
import * as Recovery from "../supervisor/RecoveryOptions.ts"
import type { SupervisorKind } from "../supervisor/Supervisor.ts"

/**
 * A value that a setting does not allow. One line: setting, value, source, what is allowed.
 *
 * @since 0.1.0
 * @category errors
 */
export class SettingInvalid extends Data.TaggedError("SettingInvalid")<{
  readonly setting: string
  /** `--port`, `GATEWAY_PORT`, `"port" in /etc/gateway.json`, … */
  readonly source: string
  readonly value: string
  readonly allowed: string
}> {
  override get message() {
    return printable(`invalid ${this.setting} ${this.value} from ${this.source}: expected ${this.allowed}`)
  }
}

/**
 * The config file cannot be used: unreadable, not JSON, or with a key that is no setting.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConfigFileInvalid extends Data.TaggedError("ConfigFileInvalid")<{
  readonly path: string
  readonly reason: string
}> {
  override get message() {
    return printable(`invalid config file ${this.path}: ${this.reason}`)
  }
}

/**
 * The keywords of JSON Schema (draft 2020-12) that describe a setting.
 *
 * @since 0.1.0
 * @category models
 */
export interface JsonSchema {
  readonly type: string | ReadonlyArray<string>
  readonly pattern?: string
  readonly minLength?: number
  readonly minimum?: number
  readonly maximum?: number
  readonly items?: JsonSchema
}

/**
 * One setting of the table.
 *
 * @since 0.1.0
 * @category models
 */
export interface Setting<A> {
  /** In words, for messages. */
  readonly name: string
  /** Without the dashes. */
  readonly flag?: string
  /** The environment variable. */
  readonly env?: string
  /** The way to it through the config file's objects. */
  readonly file?: ReadonlyArray<string>
  /** What it may be there, as far as JSON Schema can say it. */
  readonly json?: JsonSchema
  /** What stands for the value in `--help`. */
  readonly placeholder: string
  /** For `--help` and the README, a line. */
  readonly description: string
  /** What it may be, in words: ends the message of a refusal. */
  readonly allowed: string
  /** The default in words. */
  readonly default: string
  /** The words that it can be, where these are few: for completion. */
  readonly values?: ReadonlyArray<string>
  /** What a path leads to: for completion. */
  readonly path?: "file" | "directory"
  /** Never shown, not even where it is wrong. */
  readonly isSecret?: boolean
  /** A flag and a variable are text; the config file has any JSON. `None`: not allowed. */
  readonly decode: (raw: unknown) => Option.Option<A>
  /** What is wrong with a value that is not allowed, besides; of one that is never shown, without showing it. */
  readonly explain?: (raw: unknown) => Option.Option<string>
}

const setting = <A>(setting: Setting<A>): Setting<A> => setting

const text = (raw: unknown): Option.Option<string> => typeof raw === "string" ? Option.some(raw) : Option.none()

const matching = (pattern: RegExp) => (raw: unknown) => Option.filter(text(raw), (value) => pattern.test(value))

const wholeNumber = (raw: unknown): Option.Option<number> =>
  typeof raw === "number" && Number.isSafeInteger(raw)
    ? Option.some(raw)
    : Option.map(matching(/^\d{1,15}$/)(raw), Number)

const durationIn = (minimum: Duration.Duration, maximum: Duration.Duration) => (raw: unknown) =>
  Option.filter(
    Option.flatMap(text(raw), DurationText.parse),
    (value) => Duration.greaterThanOrEqualTo(value, minimum) && Duration.lessThanOrEqualTo(value, maximum)
  )

const day = Duration.days(1)
const words = (duration: Duration.Duration): string => {
  const millis = Duration.toMillis(duration)
  const [count, unit] = millis === 0 || millis % 1000 !== 0
    ? [millis, "milli"]
    : millis % 60_000 === 0
    ? [millis / 60_000, "minute"]
    : [millis / 1000, "second"]
  return `${count} ${unit}${count === 1 ? "" : "s"}`
}

/**
 * A duration with its unit, in words or short, from `minimum` (default 0) to a day.
 *
 * @internal
 */
export const durationSetting = (options: {
  readonly name: string
  readonly flag?: string
  readonly env?: string
  readonly file?: ReadonlyArray<string>
  readonly description: string
  readonly default: Duration.Duration
  readonly minimum?: Duration.Duration
}): Setting<Duration.Duration> => {
  const minimum = options.minimum ?? Duration.zero
  return {
    ...options,
    placeholder: "<duration>",
    allowed: `a duration from "${words(minimum)}" to "1 day", such as "${words(options.default)}", "${
      DurationText.short(options.default)
    }" or "1m30s" (units: ${DurationText.shortUnits}, or their words)`,
    default: words(options.default),
    ...(options.file === undefined ? {} : { json: { type: "string", pattern: DurationText.pattern } as const }),
    decode: durationIn(minimum, day)
  }
}

const countSetting = (options: {
  readonly name: string
  readonly file: ReadonlyArray<string>
  readonly description: string
  readonly default: number
  readonly minimum: number
  readonly maximum: number
}): Setting<number> => ({
  ...options,
  placeholder: "<number>",
  json: { type: "integer", minimum: options.minimum, maximum: options.maximum },
  allowed: `a whole number from ${options.minimum} to ${options.maximum}`,
  default: String(options.default),
  decode: (raw) => Option.filter(wholeNumber(raw), (n) => n >= options.minimum && n <= options.maximum)
})

/** In the environment with commas, in the config file also as an array. */
const listOf =
  (entry: (text: string) => Option.Option<string>) => (raw: unknown): Option.Option<ReadonlyArray<string>> =>
    (Array.isArray(raw)
      ? Option.all(raw.map(text))
      : Option.map(text(raw), (value) => value.split(",").map((part) => part.trim()))).pipe(
        Option.flatMap((entries) => Option.all(entries.map(entry)))
      )

const supportedLogLevels = ["all", "trace", "debug", "info", "warning", "error", "fatal", "none"] as const
const logLevels: Record<typeof supportedLogLevels[number], LogLevel.LogLevel> = {
  all: LogLevel.All,
  trace: LogLevel.Trace,
  debug: LogLevel.Debug,
  info: LogLevel.Info,
  warning: LogLevel.Warning,
  error: LogLevel.Error,
  fatal: LogLevel.Fatal,
  none: LogLevel.None
}

const oneOf = <const Values extends ReadonlyArray<string>>(values: Values) => {
  const is = Schema.is(Schema.Literal(...values))
  return (raw: unknown): Option.Option<Values[number]> => is(raw) ? Option.some(raw) : Option.none()
}

/**
 * `pretty` in colours for a terminal; `logfmt` and `json`, a line each.
 *
 * @since 0.1.0
 * @category models
 */
export type LogFormat = typeof logFormats[number]

/**
 * Host and port where nothing else is said.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultAddress = { host: "127.0.0.1", port: 18789 } as const

/**
 * The profile where none is named.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultProfile = "default"

const supervisors = ["auto", "none", "systemd", "launchd", "schtasks", "external"] as const
const logFormats = ["pretty", "logfmt", "json"] as const

const profilePattern = /^[a-z0-9][a-z0-9_-]{0,63}$/

/**
 * The table: one `Setting` for each, by its name in `GatewayConfig`.
 *
 * @since 0.1.0
 * @category settings
 */
export const settings = {
  port: setting({
    name: "port",
    flag: "port",
    env: "GATEWAY_PORT",
    file: ["port"],
    json: { type: "integer", minimum: 1, maximum: 65535 },
    placeholder: "<port>",
    description: "base port; one gateway per base port on a host",
    allowed: "a whole number from 1 to 65535",
    default: String(defaultAddress.port),
    decode: (raw) => Option.filter(wholeNumber(raw), (port) => port >= 1 && port <= 65535)
  }),
  host: setting({
    name: "host",
    flag: "host",
    env: "GATEWAY_HOST",
    file: ["host"],
    json: { type: "string" },
    placeholder: "<host>",
    description: "host to bind; any but a loopback one needs a token",
    allowed: "a host name or address, not a loopback one only with a token",
    default: defaultAddress.host,
    decode: (raw) => Option.filter(Option.flatMap(text(raw), allowedHost), (host) => host !== any)
  }),
  tokenFile: setting({
    name: "token file",
    flag: "token-file",
    env: "GATEWAY_TOKEN_FILE",
    file: ["tokenFile"],
    json: { type: "string", minLength: 1 },
    placeholder: "<path>",
    description: "file with the token that clients must show",
    allowed: "a path",
    path: "file",
    default: "no token",
    decode: matching(/^[^\0]+$/)
  }),
  token: setting({
    name: "token",
    env: "GATEWAY_TOKEN",
    placeholder: "<token>",
    description: "the token itself",
    allowed: AccessToken.allowed,
    default: "no token",
    isSecret: true,
    decode: (raw) =>
      Option.map(
        Option.filter(Option.map(text(raw), AccessToken.withoutLineEnd), AccessToken.isValid),
        (token) => Redacted.make(token)
      ),
    explain: (raw) => Option.flatMap(Option.map(text(raw), AccessToken.withoutLineEnd), AccessToken.fault)
  }),
  allowedHosts: setting({
    name: "allowed hosts",
    env: "GATEWAY_ALLOWED_HOSTS",
    file: ["allowedHosts"],
    json: { type: ["array", "string"], items: { type: "string" } },
    placeholder: "<list>",
    description: "names and addresses that Host may have besides our own; * for any",
    allowed: "host names (as punycode) and addresses without ports, or *, with commas between them",
    default: "none",
    decode: listOf(allowedHost)
  }),
  allowedOrigins: setting({
    name: "allowed origins",
    env: "GATEWAY_ALLOWED_ORIGINS",
    file: ["allowedOrigins"],
    json: { type: ["array", "string"], items: { type: "string" } },
    placeholder: "<list>",
    description: "origins of pages that may open sockets and change something besides our own; * for any",
    allowed: "origins such as https://app.example:8443, file://, app://name, null or *, with commas between them",
    default: "none",
    decode: listOf(allowedOrigin)
  }),
  profile: setting({
    name: "profile",
    flag: "profile",
    env: "GATEWAY_PROFILE",
    placeholder: "<name>",
    description: "names this gateway; each profile has its own config file and state directory",
    allowed: "up to 64 of a-z, 0-9, _ and -, beginning with a letter or digit",
    default: defaultProfile,
    decode: matching(profilePattern)
  }),
  configPath: setting({
    name: "config file",
    flag: "config",
    env: "GATEWAY_CONFIG",
    placeholder: "<path>",
    description: "config file, JSON; one that is named must exist",
    allowed: "a path",
    path: "file",
    default: "the profile's gateway.json under the platform's config folder",
    decode: matching(/^[^\0]+$/)
  }),
  stateDir: setting({
    name: "state directory",
    flag: "state-dir",
    env: "GATEWAY_STATE_DIR",
    placeholder: "<path>",
    description: "state directory, which holds the lock files",
    allowed: "a path",
    path: "directory",
    default: "the profile's own folder under the platform's state folder",
    decode: matching(/^[^\0]+$/)
  }),
  supervisor: setting({
    name: "supervisor",
    flag: "supervisor",
    env: "GATEWAY_SUPERVISOR",
    placeholder: "<name>",
    description: "who restarts us: auto, none, systemd, launchd, schtasks or external",
    allowed: "auto, none, systemd, launchd, schtasks or external",
    default: "auto",
    values: supervisors,
    decode: oneOf(supervisors)
  }),
  lockTimeout: durationSetting({
    name: "lock timeout",
    flag: "lock-timeout",
    env: "GATEWAY_LOCK_TIMEOUT",
    file: ["lock", "timeout"],
    description: "how long to wait for a lock whose owner does not serve our port",
    default: LockFile.defaults.timeout
  }),
  lockPollInterval: durationSetting({
    name: "lock poll interval",
    file: ["lock", "pollInterval"],
    description: "how often to try the lock meanwhile",
    default: LockFile.defaults.pollInterval,
    minimum: Duration.millis(10)
  }),
  lockStaleAfter: durationSetting({
    name: "lock stale time",
    file: ["lock", "staleAfter"],
    description: "how old a record must be before it can be stale where no kernel lock can be had",
    default: LockFile.defaults.staleAfter,
    minimum: Duration.seconds(1)
  }),
  lockRecheckInterval: durationSetting({
    name: "lock recheck interval",
    file: ["lock", "recheckInterval"],
    description: "how often the holder looks after its lock files",
    default: LockFile.defaults.recheckInterval,
    minimum: Duration.millis(10)
  }),
  healthProbeTimeout: durationSetting({
    name: "health probe timeout",
    file: ["health", "probeTimeout"],
    description: "deadline of one health probe",
    default: HealthProbe.defaultTimeout,
    minimum: Duration.millis(10)
  }),
  healthRetryInterval: durationSetting({
    name: "health retry interval",
    env: "GATEWAY_HEALTH_RETRY_INTERVAL",
    file: ["health", "retryInterval"],
    description: "under a supervisor: between two attempts while the owner is not healthy",
    default: Recovery.defaults.retryInterval,
    minimum: Duration.millis(10)
  }),
  healthTimeout: durationSetting({
    name: "health timeout",
    env: "GATEWAY_HEALTH_TIMEOUT",
    file: ["health", "timeout"],
    description: "under a supervisor: after which an owner that is not healthy is given up on",
    default: Recovery.defaults.healthTimeout
  }),
  drainTimeout: durationSetting({
    name: "drain timeout",
    flag: "drain-timeout",
    env: "GATEWAY_DRAIN_TIMEOUT",
    file: ["drainTimeout"],
    description: "how long requests in flight may take once shutdown has begun",
    default: Listener.defaults.drainTimeout
  }),
  maxConnections: countSetting({
    name: "connection limit",
    file: ["limits", "connections"],
    description: "connections at one time",
    default: Listener.defaults.maxConnections,
    minimum: 1,
    maximum: 1_000_000
  }),
  headersTimeout: durationSetting({
    name: "headers timeout",
    file: ["limits", "headersTimeout"],
    description: "for a request's headers",
    default: Listener.defaults.headersTimeout,
    minimum: Duration.seconds(1)
  }),
  requestTimeout: durationSetting({
    name: "request timeout",
    file: ["limits", "requestTimeout"],
    description: "for a whole request",
    default: Listener.defaults.requestTimeout,
    minimum: Duration.seconds(1)
  }),
  keepAliveTimeout: durationSetting({
    name: "keep-alive timeout",
    env: "GATEWAY_KEEP_ALIVE_TIMEOUT",
    file: ["limits", "keepAliveTimeout"],
    description: "for a connection without a request; longer than a balancer keeps its own",
    default: Listener.defaults.keepAliveTimeout,
    // 0 would mean for ever.
    minimum: Duration.seconds(1)
  }),
  maxHeaderBytes: countSetting({
    name: "header limit",
    file: ["limits", "headerBytes"],
    description: "bytes of a request line and its headers",
    default: Listener.defaults.maxHeaderBytes,
    minimum: 4096,
    maximum: 1024 * 1024
  }),
  maxControlSockets: countSetting({
    name: "control socket limit",
    file: ["limits", "controlSockets"],
    description: "control sockets at one time",
    default: Listener.defaults.maxControlSockets,
    minimum: 1,
    maximum: 1_000_000
  }),
  maxFrameBytes: countSetting({
    name: "frame limit",
    file: ["limits", "frameBytes"],
    description: "bytes of a frame on a control socket",
    default: Listener.defaults.maxFrameBytes,
    minimum: 1024,
    maximum: 16 * 1024 * 1024
  }),
  maxFramesPerSecond: countSetting({
    name: "frame rate limit",
    file: ["limits", "framesPerSecond"],
    description: "frames of one control socket in a second; twice as many at once",
    default: Listener.defaults.maxFramesPerSecond,
    minimum: 1,
    maximum: 1_000_000
  }),
  logFormat: setting({
    name: "log format",
    flag: "log-format",
    env: "GATEWAY_LOG_FORMAT",
    placeholder: "<format>",
    description: "of logs and errors on stderr: pretty, logfmt or json",
    allowed: "pretty, logfmt or json",
    default: "pretty on a terminal, else logfmt",
    values: logFormats,
    decode: oneOf(logFormats)
  }),
  logLevel: setting({
    name: "log level",
    flag: "log-level",
    env: "GATEWAY_LOG_LEVEL",
    placeholder: "<level>",
    description: `least severe to be logged: ${supportedLogLevels.join(", ")}`,
    allowed: `one of ${supportedLogLevels.join(", ")}`,
    default: "info",
    values: supportedLogLevels,
    decode: (raw) =>
      Option.map(oneOf(supportedLogLevels)(raw === "warn" ? "warning" : raw), (level) => logLevels[level])
  })
} as const

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
  /** How long to wait for a lock whose owner does not serve our port. Default 5 seconds. */
  readonly lockTimeout: Duration.Duration
  /** How often to try meanwhile. Default 100 milliseconds. */
  readonly lockPollInterval: Duration.Duration
  /** How old a record must be before it can be stale, without a kernel lock. Default 30 seconds. */
  readonly lockStaleAfter: Duration.Duration
  /** How often the holder looks after its lock files. Default 30 seconds. */
  readonly lockRecheckInterval: Duration.Duration
  /** Deadline of one health probe. Default 1 second. */
  readonly healthProbeTimeout: Duration.Duration
  /** Under a supervisor, between two attempts while the owner is not healthy. Default 5 seconds. */
  readonly healthRetryInterval: Duration.Duration
  /** Under a supervisor, after which such an owner is given up on. Default 5 minutes. */
  readonly healthTimeout: Duration.Duration
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
  /** At one time. Default 10,000. */
  readonly maxConnections: number
  /** For a request's headers. Default 10 seconds. */
  readonly headersTimeout: Duration.Duration
  /** For a whole request. Default 1 minute. */
  readonly requestTimeout: Duration.Duration
  /** How long a connection stays open without a request. Default 5 seconds. */
  readonly keepAliveTimeout: Duration.Duration
  /** Request line and headers together, in bytes. Default 16,384. */
  readonly maxHeaderBytes: number
  /** At one time. Default 1,000. */
  readonly maxControlSockets: number
  /** Of a control socket, in bytes. Default 65,536. */
  readonly maxFrameBytes: number
  /** Of one control socket; twice as many at once. Default 100. */
  readonly maxFramesPerSecond: number
  /** `None`: what fits the terminal. */
  readonly logFormat: Option.Option<LogFormat>
  /** The least severe that is logged. Default `info`. */
  readonly logLevel: LogLevel.LogLevel
}

// ---------------------------------------------------------------------------
// resolving
// ---------------------------------------------------------------------------

/**
 * A value as it was given, and where.
 *
 * @internal
 */
export interface Given {
  readonly raw: unknown
  readonly source: string
  readonly isInFile?: boolean
}

type Problem = SettingInvalid | ConfigFileInvalid | FolderUnknown | ConfigError.ConfigError

const show = (raw: unknown): string => {
  const json = JSON.stringify(raw) ?? String(raw)
  return json.length > 100 ? `${json.slice(0, 100)}…` : json
}

/**
 * Decodes a value as a setting does.
 *
 * @internal
 */
export const decodeGiven = <A>(setting: Setting<A>, given: Given): Effect.Effect<A, SettingInvalid> =>
  Option.match(setting.decode(given.raw), {
    onSome: Effect.succeed,
    onNone: () =>
      new SettingInvalid({
        setting: setting.name,
        source: given.source,
        value: setting.isSecret === true ? "(not shown)" : show(given.raw),
        allowed: [setting.allowed, ...Option.toArray(setting.explain?.(given.raw) ?? Option.none())].join("; ")
      })
  })

const fromEnvironment = (name: string): Effect.Effect<Option.Option<Given>, ConfigError.ConfigError> =>
  Effect.map(
    Config.option(Config.string(name)),
    // An empty variable is one that is not set, as for the shell's ${NAME:-…}.
    (value) => Option.map(Option.filter(value, (value) => value !== ""), (raw) => ({ raw, source: name }))
  )

/** Where an editor finds the schema. No setting. */
const schemaKey = "$schema"

type JsonObject = { readonly [key: string]: unknown }
const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const filePaths: ReadonlyArray<ReadonlyArray<string>> = Object.values(settings).flatMap((setting) =>
  setting.file === undefined ? [] : [setting.file]
)

/** The first key of a config file that is no setting, with its way from the top, or what is not an object. */
const findFault = (value: JsonObject, above: ReadonlyArray<string>): Option.Option<string> => {
  const here = filePaths.filter((path) => above.every((key, index) => path[index] === key))
  const known = new Set(here.flatMap((path) => path[above.length] ?? []))
  for (const [key, child] of Object.entries(value)) {
    const way = [...above, key]
    if (!known.has(key)) {
      return Option.some(
        `unknown key ${JSON.stringify(way.join("."))}; known here: ${[...known].toSorted().join(", ")}`
      )
    }
    if (here.some((path) => path.length > way.length && path[above.length] === key)) {
      if (!isObject(child)) return Option.some(`${JSON.stringify(way.join("."))} must be an object`)
      const fault = findFault(child, way)
      if (Option.isSome(fault)) return fault
    }
  }
  return Option.none()
}

/** A text that was read as UTF-8 and begins as UTF-16 does, with a byte order mark or without. */
const isUtf16 = (text: string): boolean => /^(?:\uFFFD{2}|\0|[^\0]\0)/.test(text)

const parseJson = (text: string): Either.Either<unknown, string> =>
  Either.try({
    try: (): unknown => JSON.parse(text),
    catch: () => {
      if (isUtf16(text)) return "not JSON: it is UTF-16, and JSON is UTF-8; save it as UTF-8"
      const fault = jsonFault(text)
      return fault === undefined
        ? "not JSON"
        : `not JSON: line ${fault.line}, column ${fault.column}: expected ${fault.expected}`
    }
  })

/** What is wrong with a config file, or with a value in it. */
type FileProblem = SettingInvalid | ConfigFileInvalid

/** What becomes of such a problem: it ends the resolving, or is passed over. */
type OnFileProblem = (problem: FileProblem) => Effect.Effect<void, FileProblem>

const maxConfigBytes = 1024 * 1024
const tooLarge = "larger than 1 MiB"

/** How long the writer of a pipe may take. */
const streamTimeout = Duration.seconds(30)

/** Whether a config cannot be read again, or has no path of its own: a pipe, a terminal, a device, an unlinked file. */
const isStream = (path: string): Effect.Effect<boolean, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const type = Option.map(yield* Effect.option(fs.stat(path)), ({ type }) => type)
    if (Option.isNone(type) || type.value === "Directory") return false
    return type.value !== "File" || Option.isNone(yield* Effect.option(realPath(path)))
  })

/** The text of a config; `None` where there is no such file, or why it cannot be had. */
const readConfigText = (path: string, isStream: boolean): Effect.Effect<
  Option.Option<string>,
  string,
  FileSystem.FileSystem
> =>
  Effect.gen(function*() {
    if (isStream) {
      const content = yield* readStream(path, maxConfigBytes).pipe(
        Effect.mapError(({ reason }) => reason),
        Effect.timeoutFail({
          duration: streamTimeout,
          onTimeout: () => `it was not written to its end within ${Duration.toSeconds(streamTimeout)} seconds`
        })
      )
      return content.length > maxConfigBytes
        ? yield* Effect.fail(tooLarge)
        : Option.some(Buffer.from(content).toString("utf8"))
    }
    const fs = yield* FileSystem.FileSystem
    const info = yield* Effect.option(fs.stat(path))
    if (Option.exists(info, ({ size }) => size > FileSystem.Size(maxConfigBytes))) return yield* Effect.fail(tooLarge)
    return yield* Effect.asSome(fs.readFileString(path)).pipe(
      Effect.catchAll((error) => isNotFound(error) ? Effect.succeedNone : Effect.fail(describePlatformError(error)))
    )
  })

const readConfigFile = (
  path: string,
  options: {
    readonly isStream: boolean
    /** Who named it. */
    readonly namedBy: Option.Option<string>
  },
  onProblem: OnFileProblem
): Effect.Effect<JsonObject, FileProblem, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const invalid = (reason: string) => Effect.as(onProblem(new ConfigFileInvalid({ path, reason })), {})
    const content = yield* Effect.either(readConfigText(path, options.isStream))
    if (Either.isLeft(content)) return yield* invalid(content.left)
    if (Option.isNone(content.right)) {
      return Option.isNone(options.namedBy)
        ? {}
        : yield* invalid(`${options.namedBy.value} names it, and there is no such file`)
    }
    const parsed = parseJson(content.right.value.replace(/^\uFEFF/, ""))
    if (Either.isLeft(parsed)) return yield* invalid(parsed.left)
    if (!isObject(parsed.right)) return yield* invalid("not a JSON object")
    const { [schemaKey]: schema, ...values } = parsed.right
    if (schema !== undefined && typeof schema !== "string") {
      yield* onProblem(new ConfigFileInvalid({ path, reason: `${JSON.stringify(schemaKey)} must be a text` }))
    }
    const fault = findFault(values, [])
    if (Option.isSome(fault)) yield* onProblem(new ConfigFileInvalid({ path, reason: fault.value }))
    return values
  })

const fromFile = (content: JsonObject, path: string, way: ReadonlyArray<string>): Option.Option<Given> => {
  let value: unknown = content
  for (const key of way) value = isObject(value) ? value[key] : undefined
  return value === undefined
    ? Option.none()
    : Option.some({ raw: value, source: `${JSON.stringify(way.join("."))} in ${path}`, isInFile: true })
}

/**
 * An absolute path with its links resolved as far as it exists, and on macOS and Windows in the spelling of the file system: two
 * spellings of one file are one key.
 *
 * @since 0.1.0
 * @category paths
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

/** From outside any file: flag, then environment. */
const outside = <A>(flags: ReadonlyMap<string, string>, setting: Setting<A>) =>
  Effect.gen(function*() {
    const flag = setting.flag === undefined ? undefined : flags.get(setting.flag)
    if (flag !== undefined) return Option.some<Given>({ raw: flag, source: `--${setting.flag}` })
    return setting.env === undefined ? Option.none<Given>() : yield* fromEnvironment(setting.env)
  })
const decoded = <A>(
  setting: Setting<A>,
  given: Option.Option<Given>
): Effect.Effect<Option.Option<A>, SettingInvalid> =>
  Option.match(given, {
    onNone: () => Effect.succeedNone,
    onSome: (given) => Effect.asSome(decodeGiven(setting, given))
  })

const resolveWith = (
  flags: ReadonlyMap<string, string>,
  onFileProblem: OnFileProblem
): Effect.Effect<GatewayConfig, Problem, FileSystem.FileSystem | PlatformFolders> =>
  Effect.gen(function*() {
    const folders = yield* PlatformFolders

    const profile = Option.getOrElse(yield* decoded(settings.profile, yield* outside(flags, settings.profile)), () =>
      defaultProfile)
    const configGiven = yield* outside(flags, settings.configPath)
    const configNamed = yield* decoded(settings.configPath, configGiven)
    const readFrom = NodePath.resolve(
      Option.isSome(configNamed) ? configNamed.value : yield* folders.configPath(profile)
    )
    const isConfigStream = yield* isStream(readFrom)
    // What has no path of its own cannot name the lock.
    const configName = isConfigStream ? NodePath.resolve(yield* folders.configPath(profile)) : readFrom
    const configPath = yield* canonicalPath(configName)
    /** What messages call it. */
    const shownPath = isConfigStream ? readFrom : configPath
    const namedBy = Option.map(configGiven, ({ source }) =>
      source)
    const content = yield* readConfigFile(shownPath, { isStream: isConfigStream, namedBy }, onFileProblem)

    const givenOutside = <A>(setting: Setting<A>) => outside(flags, setting)
    const givenInside = <A>(setting: Setting<A>) =>
      setting.file === undefined ? Option.none() : fromFile(content, shownPath, setting.file)
    const givenFor = <A>(setting: Setting<A>) =>
      Effect.map(
        givenOutside(setting),
        Option.orElse(() => givenInside(setting))
      )
    const optional = <A>(setting: Setting<A>) =>
      Effect.gen(function*() {
        const given = yield* givenOutside(setting)
        if (Option.isSome(given) || setting.file === undefined) return yield* decoded(setting, given)
        return yield* decoded(setting, givenInside(setting)).pipe(
          Effect.catchAll((problem) => Effect.as(onFileProblem(problem), Option.none<A>()))
        )
      })
    const or = <A>(setting: Setting<A>, otherwise: A) =>
      Effect.map(
        optional(setting),
        Option.getOrElse(() => otherwise)
      )

    /** A path is relative to where it was written; a pipe is nowhere. */
    const fileFor = (given: Given, path: string) =>
      NodePath.resolve(given.isInFile === true && !isConfigStream ? NodePath.dirname(configPath) : "", path)
    const hostGiven = yield* givenFor(settings.host)
    const tokenFlag = settings.tokenFile.flag === undefined ? undefined : flags.get(settings.tokenFile.flag)
    const token = tokenFlag === undefined ? yield* optional(settings.token) : Option.none()
    const tokenFileGiven = yield* givenFor(settings.tokenFile)
    if (Option.isSome(token) && Option.exists(tokenFileGiven, ({ isInFile }) => isInFile !== true)) {
      return yield* new SettingInvalid({
        setting: settings.token.name,
        source: `${settings.token.env}`,
        value: "(not shown)",
        allowed: `no ${settings.tokenFile.env} beside it`
      })
    }

    const stateDirNamed = yield* optional(settings.stateDir)

    return {
      profile,
      configPath,
      configName,
      configSource: Option.getOrElse(namedBy, () => "the default"),
      isConfigStream,
      port: yield* or(settings.port, defaultAddress.port),
      host: yield* or(settings.host, defaultAddress.host),
      hostSource: Option.match(hostGiven, { onNone: () => "the default", onSome: ({ source }) => source }),
      token,
      tokenFile: Option.isSome(token)
        ? Option.none()
        : Option.zipWith(tokenFileGiven, yield* optional(settings.tokenFile), fileFor),
      allowedHosts: yield* or<ReadonlyArray<string>>(settings.allowedHosts, []),
      allowedOrigins: yield* or<ReadonlyArray<string>>(settings.allowedOrigins, []),
      maxConnections: yield* or(settings.maxConnections, Listener.defaults.maxConnections),
      headersTimeout: yield* or(settings.headersTimeout, Listener.defaults.headersTimeout),
      requestTimeout: yield* or(settings.requestTimeout, Listener.defaults.requestTimeout),
      keepAliveTimeout: yield* or(settings.keepAliveTimeout, Listener.defaults.keepAliveTimeout),
      maxHeaderBytes: yield* or(settings.maxHeaderBytes, Listener.defaults.maxHeaderBytes),
      maxControlSockets: yield* or(settings.maxControlSockets, Listener.defaults.maxControlSockets),
      maxFrameBytes: yield* or(settings.maxFrameBytes, Listener.defaults.maxFrameBytes),
      maxFramesPerSecond: yield* or(settings.maxFramesPerSecond, Listener.defaults.maxFramesPerSecond),
      stateDir: yield* canonicalPath(
        Option.isSome(stateDirNamed) ? stateDirNamed.value : yield* folders.stateDir(profile)
      ),
      lockTimeout: yield* or(settings.lockTimeout, LockFile.defaults.timeout),
      lockPollInterval: yield* or(settings.lockPollInterval, LockFile.defaults.pollInterval),
      lockStaleAfter: yield* or(settings.lockStaleAfter, LockFile.defaults.staleAfter),
      lockRecheckInterval: yield* or(settings.lockRecheckInterval, LockFile.defaults.recheckInterval),
      healthProbeTimeout: yield* or(settings.healthProbeTimeout, HealthProbe.defaultTimeout),
      healthRetryInterval: yield* or(settings.healthRetryInterval, Recovery.defaults.retryInterval),
      healthTimeout: yield* or(settings.healthTimeout, Recovery.defaults.healthTimeout),
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
 * As `resolve`, for a command that only looks: what a config file gets wrong is passed over and told of, and the rest
 * of it, where it can be read at all, still counts. A flag or a variable that is not allowed fails as ever.
 *
 * @since 0.1.0
 * @category constructors
 */
export const resolveLenient = (
  flags: ReadonlyMap<string, string>
): Effect.Effect<
  { readonly config: GatewayConfig; readonly problems: ReadonlyArray<SettingInvalid | ConfigFileInvalid> },
  Problem,
  FileSystem.FileSystem | PlatformFolders
> =>
  Effect.gen(function*() {
    const problems: Array<FileProblem> = []
    const config = yield* resolveWith(flags, (problem) => Effect.sync(() => problems.push(problem)))
    return { config, problems }
  })

/** What a host that others can reach lacks. */
const exposed = (config: Pick<GatewayConfig, "host" | "hostSource">) =>
  new SettingInvalid({
    setting: settings.host.name,
    source: config.hostSource,
    value: show(config.host),
    allowed: "a loopback host (localhost, 127.0.0.0/8 or ::1), or a token besides: "
      + `--${settings.tokenFile.flag}, ${settings.tokenFile.env} or ${settings.token.env}`
  })

/**
 * Fails with `SettingInvalid` where others can reach the host and no token is named. Reads no file.
 *
 * @since 0.1.0
 * @category access
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
): Effect.Effect<void, SettingInvalid | ConfigFileInvalid> =>
  config.isConfigStream && config.configSource !== "the default"
    ? new ConfigFileInvalid({
      path: config.configName,
      reason: `${config.configSource} names a pipe or a device, which a service cannot read again; name a regular file`
    })
    : checkExposure(config)

/**
 * The token, from the environment or its file. Fails with `SettingInvalid` where others can reach the host and there is
 * none, and with `TokenFileInvalid` where the file cannot be used.
 *
 * @since 0.1.0
 * @category access
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
