/**
 * The resolved settings of one start. `GatewayConfig` exports these types.
 */
import type * as Duration from "effect/Duration"
import type * as LogLevel from "effect/LogLevel"
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type { ConnectionLimits } from "../server/ServerSocket.ts"
import type { SupervisorKind } from "../supervisor/Supervisor.ts"
import type { LeaseSettings } from "./LeaseSettings.ts"
import type { LogFormat } from "./SettingsTable.ts"

/**
 * The settings of the lock: how long a start waits for it, when a record counts as stale, and how often the holder checks its
 * lock files. The record is the JSON text in a lock file. It is stale if the gateway that wrote it no longer runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockSettings {
  /**
   * How long a start waits for the lock. The start fails at once instead if its port is in use, or if the lock's owner is healthy.
   * Default 5 seconds.
   */
  readonly timeout: Duration.Duration
  /** The time between two attempts to acquire the lock, while a start waits for it. Default 100 milliseconds. */
  readonly pollInterval: Duration.Duration
  /**
   * How old the record (the JSON text in a lock file) must be before it can count as stale, which means left by a gateway that no
   * longer runs. This applies only if there is no kernel lock. Default 30 seconds.
   */
  readonly staleAfter: Duration.Duration
  /** How often the process that holds the lock checks its lock files. Default 30 seconds. */
  readonly recheckInterval: Duration.Duration
}

/**
 * The settings for a start that finds an owner: another gateway that has the lock or the port. The settings say how the health of
 * the owner is probed, and how long the start waits if the owner is not healthy.
 *
 * @since 0.1.0
 * @category models
 */
export interface HealthSettings {
  /** Time limit of one health probe. Default 1 second. */
  readonly probeTimeout: Duration.Duration
  /**
   * The time between two attempts of a start, while the owner of the lock or port is not healthy. This applies only under a
   * supervisor such as systemd. Default 5 seconds.
   */
  readonly retryInterval: Duration.Duration
  /** How long a start waits for an owner that is not healthy. This applies only under a supervisor. Default 5 minutes. */
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
   * The path of the config file. The path is absolute, with symbolic links resolved as far as the path exists. The lock file's
   * name contains a hash of this path. If the config is read from a pipe, this is the path of the profile's default config file.
   */
  readonly configPath: string
  /**
   * The same path as `configPath`, but without resolving symbolic links. If a link in this path gets another target, `configPath`
   * changes, but this path still identifies the same gateway.
   */
  readonly configName: string
  /** Where the config path came from: `--config`, `GATEWAY_CONFIG` or `the default`. */
  readonly configSource: string
  /** Whether the config was read from a pipe, a terminal or a device. Such a config cannot be read a second time. */
  readonly isConfigStream: boolean
  /**
   * The state directory. Its folder `locks` contains the lock files. The path is absolute, with symbolic links resolved as far as the
   * path exists.
   */
  readonly stateDir: string
  /** The settings of the lock, such as how long a start waits for it. */
  readonly lock: LockSettings
  /** The settings for a start that finds another gateway with the lock or the port. */
  readonly health: HealthSettings
  /**
   * The supervisor that restarts this gateway. With `auto`, the default, the gateway detects the supervisor. It then assumes a
   * supervisor only if the facts prove that this supervisor started the process.
   */
  readonly supervisor: "auto" | SupervisorKind
  /** How long requests in flight may take once shutdown has begun. Default 10 seconds. */
  readonly drainTimeout: Duration.Duration
  /**
   * The access token from the environment. A token in `tokenFile` is not part of the settings, because only the function
   * `accessToken` reads that file.
   */
  readonly token: Option.Option<Redacted.Redacted>
  /**
   * The absolute path of the file with the access token. `None` if no file is named, or if `token` is set, because `token`
   * takes precedence.
   */
  readonly tokenFile: Option.Option<string>
  /**
   * Additional names and addresses to accept in the `Host` header of a request. Each entry is in its normal form, for example in
   * lower case.
   */
  readonly allowedHosts: ReadonlyArray<string>
  /**
   * Additional origins whose pages may open WebSockets and send requests that change something. Each entry is in its normal form,
   * for example in lower case.
   */
  readonly allowedOrigins: ReadonlyArray<string>
  /** The limits on clients. `pipelinedRequests` and `bufferedBytes` are left out, because no setting exists for them. */
  readonly limits: Omit<ConnectionLimits, "pipelinedRequests" | "bufferedBytes">
  /** The lease by which the gateways of several hosts elect one leader. Without `url` and `urlFile`, there is no lease. */
  readonly lease: LeaseSettings
  /** The format of log lines. `None` means `pretty` on a terminal, and `logfmt` otherwise. */
  readonly logFormat: Option.Option<LogFormat>
  /** The lowest severity that is logged. Default `info`. */
  readonly logLevel: LogLevel.LogLevel
}
