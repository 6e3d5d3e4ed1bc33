/**
 * The table of settings. It has the name of each setting on the command line, in the environment and in the config file,
 * and the allowed values. The command line, the schema of the config file and `--help` are made from this table.
 */
import * as Duration from "effect/Duration"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as LeaseFacts from "../leader/LeaseFacts.ts"
import * as LockFile from "../lock/LockFile.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"
import { allowedHost, allowedOrigin, any } from "../server/Access.ts"
import * as AccessToken from "../server/AccessToken.ts"
import * as Listener from "../server/ListenerOptions.ts"
import * as Recovery from "../supervisor/RecoveryOptions.ts"
import { countSetting, durationSetting, listOf, matching, oneOf, setting, text, wholeNumber } from "./Setting.ts"

/**
 * The format of logs and errors on stderr. `pretty` is for a terminal. `logfmt` and `json` write one line per entry.
 *
 * @since 0.1.0
 * @category models
 */
export type LogFormat = typeof logFormats[number]

/**
 * The default host and port.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultAddress = { host: "127.0.0.1", port: 18789 } as const

/**
 * The default profile.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultProfile = "default"

const supervisors = ["auto", "none", "systemd", "launchd", "schtasks", "external"] as const
const logFormats = ["pretty", "logfmt", "json"] as const

/** A shorter time would make a leader ask the store without a pause. */
const shortestLeaseTime = Duration.millis(10)

const leaseNamePattern = /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$/
const profilePattern = /^[a-z0-9][a-z0-9_-]{0,63}$/

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

/**
 * All settings. Each key is the name of the setting in `GatewayConfig`. In a key such as `lock.timeout`, the dot separates the
 * group from the setting.
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
    description: "host to bind; a host other than loopback needs a token",
    allowed: "a host name or address; a host other than loopback needs a token",
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
    description: "file with the access token that clients must send",
    allowed: "a path",
    path: "file",
    default: "no token",
    decode: matching(/^[^\0]+$/)
  }),
  token: setting({
    name: "token",
    env: "GATEWAY_TOKEN",
    placeholder: "<token>",
    description: "access token that clients must send",
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
    description: "further names and addresses to accept in Host; * accepts any",
    allowed: "host names (as punycode) and addresses without ports, or *, separated by commas",
    default: "none",
    decode: listOf(allowedHost)
  }),
  allowedOrigins: setting({
    name: "allowed origins",
    env: "GATEWAY_ALLOWED_ORIGINS",
    file: ["allowedOrigins"],
    json: { type: ["array", "string"], items: { type: "string" } },
    placeholder: "<list>",
    description: "further origins whose pages may open sockets and send requests that change something; * accepts any",
    allowed: "origins such as https://app.example:8443, file://, app://name, null or *, separated by commas",
    default: "none",
    decode: listOf(allowedOrigin)
  }),
  profile: setting({
    name: "profile",
    flag: "profile",
    env: "GATEWAY_PROFILE",
    placeholder: "<name>",
    description: "name of this gateway, with its own config file and state",
    allowed: "1 to 64 characters of a-z, 0-9, _ and -, of which the first is a letter or digit",
    default: defaultProfile,
    decode: matching(profilePattern)
  }),
  configPath: setting({
    name: "config file",
    flag: "config",
    env: "GATEWAY_CONFIG",
    placeholder: "<path>",
    description: "config file in JSON; a file that is named must exist",
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
    description: "supervisor that restarts this gateway: auto, none, systemd, launchd, schtasks or external",
    allowed: "auto, none, systemd, launchd, schtasks or external",
    default: "auto",
    values: supervisors,
    decode: oneOf(supervisors)
  }),
  "lock.timeout": durationSetting({
    name: "lock timeout",
    flag: "lock-timeout",
    env: "GATEWAY_LOCK_TIMEOUT",
    file: ["lock", "timeout"],
    description: "how long to wait for the lock while its owner does not serve this port",
    default: LockFile.defaults.lock.timeout
  }),
  "lock.pollInterval": durationSetting({
    name: "lock poll interval",
    file: ["lock", "pollInterval"],
    description: "time between two attempts to acquire the lock",
    default: LockFile.defaults.lock.pollInterval,
    minimum: Duration.millis(10)
  }),
  "lock.staleAfter": durationSetting({
    name: "lock stale time",
    file: ["lock", "staleAfter"],
    description: "minimum age of a stale record, if there is no kernel lock",
    default: LockFile.defaults.lock.staleAfter,
    minimum: Duration.seconds(1)
  }),
  "lock.recheckInterval": durationSetting({
    name: "lock recheck interval",
    file: ["lock", "recheckInterval"],
    description: "how often the holder checks its lock files",
    default: LockFile.defaults.lock.recheckInterval,
    minimum: Duration.millis(10)
  }),
  "health.probeTimeout": durationSetting({
    name: "health probe timeout",
    file: ["health", "probeTimeout"],
    description: "time limit of one health probe",
    default: HealthProbe.defaultTimeout,
    minimum: Duration.millis(10)
  }),
  "health.retryInterval": durationSetting({
    name: "health retry interval",
    env: "GATEWAY_HEALTH_RETRY_INTERVAL",
    file: ["health", "retryInterval"],
    description: "under a supervisor: time between two attempts while the owner is not healthy",
    default: Recovery.defaults.health.retryInterval,
    minimum: Duration.millis(10)
  }),
  "health.timeout": durationSetting({
    name: "health timeout",
    env: "GATEWAY_HEALTH_TIMEOUT",
    file: ["health", "timeout"],
    description: "under a supervisor: how long to wait for an owner that is not healthy",
    default: Recovery.defaults.health.timeout
  }),
  drainTimeout: durationSetting({
    name: "drain timeout",
    flag: "drain-timeout",
    env: "GATEWAY_DRAIN_TIMEOUT",
    file: ["drainTimeout"],
    description: "time limit for requests in flight after a shutdown begins",
    default: Listener.defaults.drainTimeout
  }),
  "limits.connections": countSetting({
    name: "connection limit",
    file: ["limits", "connections"],
    description: "maximum number of open connections",
    default: Listener.defaults.limits.connections,
    minimum: 1,
    maximum: 1_000_000
  }),
  "limits.headersTimeout": durationSetting({
    name: "headers timeout",
    file: ["limits", "headersTimeout"],
    description: "time limit for the headers of a request",
    default: Listener.defaults.limits.headersTimeout,
    minimum: Duration.seconds(1)
  }),
  "limits.requestTimeout": durationSetting({
    name: "request timeout",
    file: ["limits", "requestTimeout"],
    description: "time limit for a whole request",
    default: Listener.defaults.limits.requestTimeout,
    minimum: Duration.seconds(1)
  }),
  "limits.keepAliveTimeout": durationSetting({
    name: "keep-alive timeout",
    env: "GATEWAY_KEEP_ALIVE_TIMEOUT",
    file: ["limits", "keepAliveTimeout"],
    description: "time limit for an idle connection; must exceed the idle timeout of a load balancer",
    default: Listener.defaults.limits.keepAliveTimeout,
    // The minimum is not 0, because Node would never close an idle connection with a timeout of 0.
    minimum: Duration.seconds(1)
  }),
  "limits.headerBytes": countSetting({
    name: "header limit",
    file: ["limits", "headerBytes"],
    description: "maximum bytes of a request line and its headers",
    default: Listener.defaults.limits.headerBytes,
    minimum: 4096,
    maximum: 1024 * 1024
  }),
  "limits.controlSockets": countSetting({
    name: "control socket limit",
    file: ["limits", "controlSockets"],
    description: "maximum number of open control sockets",
    default: Listener.defaults.limits.controlSockets,
    minimum: 1,
    maximum: 1_000_000
  }),
  "limits.frameBytes": countSetting({
    name: "frame limit",
    file: ["limits", "frameBytes"],
    description: "maximum bytes of a frame on a control socket",
    default: Listener.defaults.limits.frameBytes,
    minimum: 1024,
    maximum: 16 * 1024 * 1024
  }),
  "limits.framesPerSecond": countSetting({
    name: "frame rate limit",
    file: ["limits", "framesPerSecond"],
    description: "maximum frames per second on one control socket; a burst may have twice as many",
    default: Listener.defaults.limits.framesPerSecond,
    minimum: 1,
    maximum: 1_000_000
  }),
  "lease.urlFile": setting({
    name: "lease URL file",
    flag: "lease-url-file",
    env: "GATEWAY_LEASE_URL_FILE",
    file: ["lease", "urlFile"],
    json: { type: "string", minLength: 1 },
    placeholder: "<path>",
    description: "file with the URL of the lease store, by which hosts elect one leader",
    allowed: "a path",
    path: "file",
    default: "no lease",
    decode: matching(/^[^\0]+$/)
  }),
  "lease.url": setting({
    name: "lease URL",
    env: "GATEWAY_LEASE_URL",
    placeholder: "<url>",
    description: "URL of the lease store, by which hosts elect one leader",
    allowed: LeaseFacts.allowedUrl,
    default: "no lease",
    isSecret: true,
    // Accepts any text, because every start loads this table, but not the parser of URLs. `GivenLease` parses the URL.
    decode: (raw) => Option.map(text(raw), (url) => Redacted.make(url))
  }),
  "lease.name": setting({
    name: "lease name",
    flag: "lease-name",
    env: "GATEWAY_LEASE_NAME",
    file: ["lease", "name"],
    json: { type: "string", pattern: leaseNamePattern.source },
    placeholder: "<name>",
    description: "name of the lease; gateways with the same name elect one leader",
    allowed: "1 to 128 characters of A-Z, a-z, 0-9, ., _, :, / and -, of which the first is a letter or digit",
    default: "the profile",
    decode: matching(leaseNamePattern)
  }),
  "lease.duration": durationSetting({
    name: "lease duration",
    env: "GATEWAY_LEASE_DURATION",
    file: ["lease", "duration"],
    description: "how long a candidate must see an unchanged lease before it leads",
    default: LeaseFacts.defaults.duration,
    minimum: shortestLeaseTime
  }),
  "lease.renewInterval": durationSetting({
    name: "lease renew interval",
    env: "GATEWAY_LEASE_RENEW_INTERVAL",
    file: ["lease", "renewInterval"],
    description: "time from one renewal of the lease to the next",
    default: LeaseFacts.defaults.renewInterval,
    minimum: shortestLeaseTime
  }),
  "lease.attemptTimeout": durationSetting({
    name: "lease attempt timeout",
    env: "GATEWAY_LEASE_ATTEMPT_TIMEOUT",
    file: ["lease", "attemptTimeout"],
    description: "time limit for one answer of the lease store",
    default: LeaseFacts.defaults.attemptTimeout,
    minimum: shortestLeaseTime
  }),
  "lease.renewDeadline": durationSetting({
    name: "lease renew deadline",
    env: "GATEWAY_LEASE_RENEW_DEADLINE",
    file: ["lease", "renewDeadline"],
    description: "how long a leader goes on without a successful renewal",
    default: LeaseFacts.defaults.renewDeadline,
    minimum: shortestLeaseTime
  }),
  "lease.stopTimeout": durationSetting({
    name: "lease stop timeout",
    env: "GATEWAY_LEASE_STOP_TIMEOUT",
    file: ["lease", "stopTimeout"],
    description: "time limit for the work of a leader that has lost its lease",
    default: LeaseFacts.defaults.stopTimeout,
    minimum: shortestLeaseTime
  }),
  logFormat: setting({
    name: "log format",
    flag: "log-format",
    env: "GATEWAY_LOG_FORMAT",
    placeholder: "<format>",
    description: "format of logs and errors on stderr: pretty, logfmt or json",
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
    description: `lowest severity to log: ${supportedLogLevels.join(", ")}`,
    allowed: `one of ${supportedLogLevels.join(", ")}`,
    default: "info",
    values: supportedLogLevels,
    decode: (raw) =>
      Option.map(oneOf(supportedLogLevels)(raw === "warn" ? "warning" : raw), (level) => logLevels[level])
  })
} as const
