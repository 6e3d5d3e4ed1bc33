/**
 * The types of `gateway-lock/promise`. They need no knowledge of Effect, and no declaration here may import a type of Effect.
 */

/**
 * A duration: a number of milliseconds, or a text with units, such as `"5 seconds"`, `"500ms"` or `"1m30s"`.
 *
 * @since 0.1.0
 * @category models
 */
export type Time = number | string

/**
 * How long `acquire` waits for the lock, and how the holder keeps it. The names are those of the settings below `lock` in the
 * config file.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockOptions {
  /**
   * How long `acquire` waits for the owner to release the lock. If the port is in use, or the owner serves another port, `acquire`
   * fails at once. Default 5 seconds.
   */
  readonly timeout?: Time | undefined
  /** The time between two attempts while `acquire` waits for the lock. Default 100 milliseconds. */
  readonly pollInterval?: Time | undefined
  /**
   * Used only where no kernel lock is available. A lock whose record is unreadable, or whose owner may be dead, can be taken over
   * once its file is older than this. Default 30 seconds.
   */
  readonly staleAfter?: Time | undefined
  /**
   * The time between two checks of the held lock. The lock is checked at least three times within `staleAfter`, even if this
   * interval is longer. Default 30 seconds.
   */
  readonly recheckInterval?: Time | undefined
}

/**
 * How the health of another owner is probed, and how long a supervised start waits for it. The names are those of the settings
 * below `health` in the config file.
 *
 * @since 0.1.0
 * @category models
 */
export interface HealthOptions {
  /** The time limit for one probe. Default 1 second. */
  readonly probeTimeout?: Time | undefined
  /** Under a supervisor: the time between two attempts while the owner is unhealthy. Default 5 seconds. */
  readonly retryInterval?: Time | undefined
  /** Under a supervisor: how long to wait until an unhealthy owner becomes healthy or ends. Default 5 minutes. */
  readonly timeout?: Time | undefined
}

/**
 * Where the lines go that `acquire` and the held lock log. `console`, a pino logger and Fastify's `app.log` have this form.
 *
 * @since 0.1.0
 * @category models
 */
export interface Logger {
  readonly debug?: ((message: string) => void) | undefined
  readonly info: (message: string) => void
  readonly warn: (message: string) => void
  readonly error: (message: string) => void
}

/**
 * The rule by which other processes, such as `gateway status`, judge whether this program is healthy.
 *
 * - `none`: it is healthy while it holds the lock.
 * - `port`: it is healthy while one of its processes listens on its port.
 * - `http:/path`: it is healthy while a request for that path gets a status of 200 to 299.
 *
 * @since 0.1.0
 * @category models
 */
export type ReadyRule = "none" | "port" | `http:/${string}`

/**
 * The options of `acquire`. Only `port` is required. A value that is not allowed, and a name that is unknown, is refused with
 * `SettingInvalid`.
 *
 * @since 0.1.0
 * @category models
 */
export interface AcquireOptions {
  /**
   * The port on which your server listens: 1 to 65535, as a number or as a text of digits, such as `process.env.PORT`.
   *
   * - `0`: the system picks the port. Tell it to `listening(port)` afterwards.
   * - `false`: the program has no port. Only the lock is acquired.
   */
  readonly port: number | string | false
  /** The host on which your server listens. Default `127.0.0.1`. */
  readonly host?: string | undefined
  /**
   * Names your program. Two programs of one user with the same profile exclude each other, whatever their ports. So give each
   * program a profile of its own. Default `default`.
   */
  readonly profile?: string | undefined
  /** The config file whose canonical path names the lock. It is not read, and may be absent. Default: the profile's file. */
  readonly configPath?: string | undefined
  /** The folder that contains the `locks` folder. Default: the profile's state folder. */
  readonly stateDir?: string | undefined
  /** How long to wait for the lock, and how to keep it. */
  readonly lock?: LockOptions | undefined
  /** How another owner is probed. */
  readonly health?: HealthOptions | undefined
  /**
   * The supervisor that restarts this program. It decides what happens beside a healthy owner: with a supervisor, `acquire` fails
   * with `OwnerHealthy`. Default `auto`, which proves the supervisor and otherwise assumes `none`.
   */
  readonly supervisor?: "auto" | SupervisorKind | undefined
  /** The rule by which others judge the health of this program. Default `port`, or `none` if `port` is `false`. */
  readonly ready?: ReadyRule | undefined
  /**
   * Whether to wait, for as long as it takes, until the present owner has ended, and to take over then. `lock.timeout` is not used.
   * `signal` cancels the wait. Default `false`.
   */
  readonly standby?: boolean | undefined
  /** Cancels `acquire`, which then rejects with the signal's reason. It has no effect on a lock that is already held. */
  readonly signal?: AbortSignal | undefined
  /**
   * What happens to the process when the lock is lost, after `Lock.signal` is aborted.
   *
   * - `exit`: the process ends with a status other than 0. If it has SIGTERM listeners, they are called at once. Otherwise it exits
   *   with status 1 after `release()`, or after `drainTimeout`. In all cases it ends 10 seconds after `drainTimeout`.
   * - `close`: nothing. Use it for a process that has other work, and watch `Lock.signal`.
   *
   * Default `exit`.
   */
  readonly onLost?: "exit" | "close" | undefined
  /** How long the program may take to close its server after a lost lock. Used by `onLost: "exit"`. Default 10 seconds. */
  readonly drainTimeout?: Time | undefined
  /** Where log lines go. By default, warnings and errors go to stderr, and the rest is dropped. */
  readonly logger?: Logger | undefined
}

/**
 * A lock that this process holds. All functions can be passed on without the object, for example to `server.listen`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lock {
  /** The port to listen on. 0 if the port was to be picked and `listening` has not told it yet, or if there is no port. */
  readonly port: number
  /** The host to listen on. */
  readonly host: string
  /** The path of the lock file of the config. */
  readonly path: string
  /** A new identifier for every acquisition. It is in the lock file too. */
  readonly instanceId: string
  /** Aborted when the lock is lost, with a `LockLost` as its reason. A release does not abort it. */
  readonly signal: AbortSignal
  /**
   * Records that the server listens. Until then others see the phase `starting`, and the program counts as not healthy. Pass the
   * port if `port` of the options was 0.
   *
   * Rejects with `LockLost` if the lock is lost, and with an `Error` if it was released.
   */
  readonly listening: (port?: number) => Promise<void>
  /**
   * Releases the lock. Close your server before. Never rejects, takes five seconds at most, and has no effect after the first call.
   */
  readonly release: () => Promise<void>
  /** Does the same as `release`, for `await using`. */
  readonly [Symbol.asyncDispose]: () => Promise<void>
}

/**
 * A program that restarts servers.
 *
 * @since 0.1.0
 * @category models
 */
export type SupervisorKind = "none" | "systemd" | "launchd" | "schtasks" | "external"

/**
 * What is known of the process that holds a lock or a port.
 *
 * @since 0.1.0
 * @category models
 */
export interface Holder {
  /** The process id in the holder's own PID namespace. */
  readonly pid?: number
  /** What `pid` means here and now. Only with `Alive` is it the pid of the holder. */
  readonly pidMeaning?: "Alive" | "Gone" | "OtherPidNamespace" | "OtherBoot" | "Unknown"
  /** The file name of the program, without its arguments. */
  readonly command?: string
  /** The pid of a `gateway exec` that has ended, although its command still runs and keeps the lock. */
  readonly endedWrapper?: number
  /** The rule by which the holder counts as healthy. Absent for a holder that answers at `/healthz`. */
  readonly ready?: ReadyRule | "notify"
  /** When the holder acquired the lock: ISO 8601, in UTC. */
  readonly since?: string
  readonly phase?: "starting" | "listening" | "draining"
  readonly configPath?: string
  readonly configName?: string
  readonly stateDir?: string
  readonly host?: string
  /** 0 for a holder without a port. */
  readonly port?: number
  readonly instanceId?: string
  readonly supervisor?: SupervisorKind
  /** The systemd unit in which the holder runs. */
  readonly unit?: { readonly name: string; readonly scope: "system" | "user" }
}

/**
 * What all errors of this family have.
 *
 * @since 0.1.0
 * @category errors
 */
export interface ErrorBase extends Error {
  readonly name: "GatewayLockError"
  /** The report that the program `gateway` prints: the message, which process holds the lock or the port, and what to type next. */
  readonly report: string
}

/**
 * The port already has a listener. `acquire` fails at once.
 *
 * @since 0.1.0
 * @category errors
 */
export interface PortInUse extends ErrorBase {
  readonly _tag: "PortInUse"
  readonly host: string
  readonly port: number
  /** The process that listens, if it owns a lock and its record could be read. */
  readonly holder?: Holder
  /** What was found out about the listener, in words. */
  readonly listener?: string
}

/**
 * Another process holds the lock and does not serve this port. If `serving` is set, it serves another one.
 *
 * @since 0.1.0
 * @category errors
 */
export interface LockHeld extends ErrorBase {
  readonly _tag: "LockHeld"
  readonly path: string
  /** How long `acquire` waited, in milliseconds. */
  readonly timeoutMs: number
  readonly holder?: Holder
  readonly serving?: { readonly host: string; readonly port: number }
}

/**
 * The lock files cannot be used: missing permission, a full disk, or a path that is no folder.
 *
 * @since 0.1.0
 * @category errors
 */
export interface LockUnavailable extends ErrorBase {
  readonly _tag: "LockUnavailable"
  readonly path: string
  readonly reason: string
  readonly holder?: Holder
}

/**
 * The lock was held, and is lost: its file was removed or replaced, and could not be restored. Never rejects `acquire`. It is the
 * reason of `Lock.signal`.
 *
 * @since 0.1.0
 * @category errors
 */
export interface LockLost extends ErrorBase {
  readonly _tag: "LockLost"
  readonly path: string
  readonly reason: string
  /** The process that holds the lock now, if known. */
  readonly holder?: Holder
}

/**
 * Under a supervisor: a healthy owner already runs, and keeps the lock and the port.
 *
 * @since 0.1.0
 * @category errors
 */
export interface OwnerHealthy extends ErrorBase {
  readonly _tag: "OwnerHealthy"
  readonly supervisor: SupervisorKind
  readonly host: string
  readonly port: number
  readonly holder?: Holder
}

/**
 * Under a supervisor: the owner did not become healthy within `health.timeout`.
 *
 * @since 0.1.0
 * @category errors
 */
export interface OwnerUnhealthy extends ErrorBase {
  readonly _tag: "OwnerUnhealthy"
  readonly supervisor: SupervisorKind
  readonly host: string
  readonly port: number
  /** How long `acquire` waited, in milliseconds. */
  readonly timeoutMs: number
  readonly holder?: Holder
}

/**
 * Any error of this family. `_tag` says which.
 *
 * @since 0.1.0
 * @category errors
 */
export type GatewayLockError = PortInUse | LockHeld | LockUnavailable | LockLost | OwnerHealthy | OwnerUnhealthy

/**
 * An option of `acquire` is not allowed or unknown, or a function of the lock was called in a wrong way. This is a mistake in the
 * program, so it does not belong to `GatewayLockError`.
 *
 * @since 0.1.0
 * @category errors
 */
export interface SettingInvalid extends Error {
  readonly _tag: "SettingInvalid"
  /** The name of the option, such as `lock.timeout`. */
  readonly setting: string
  /** The value, as the message shows it. */
  readonly value: string
  /** The allowed values, in words. */
  readonly allowed: string
}
