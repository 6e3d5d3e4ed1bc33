/**
 * The options of a service definition, and the values that follow from these options for every manager. These values are the
 * names of the service, its command line, and how long its stop may take.
 */
import * as Duration from "effect/Duration"

/**
 * The supported service managers. The flag `--supervisor` uses the same names.
 *
 * @since 0.1.0
 * @category models
 */
export const managers = ["systemd", "launchd", "schtasks"] as const

/**
 * A supported service manager.
 *
 * @since 0.1.0
 * @category models
 */
export type Manager = typeof managers[number]

/**
 * When a service runs. `user`: while the user of the service is logged in. `system`: from the boot of the machine. Only root or
 * an administrator can install a `system` service.
 *
 * @since 0.1.0
 * @category models
 */
export type ServiceScope = "user" | "system"

/**
 * A command that a service runs under the lock, by `gateway exec`.
 *
 * @since 0.1.0
 * @category models
 */
export interface GuardedCommand {
  /** The flags of `gateway exec` that the user gave, with their dashes and values. */
  readonly flags: ReadonlyArray<string>
  /** The absolute path of the command's program. */
  readonly program: string
  readonly args: ReadonlyArray<string>
  /** The absolute path of the folder in which the command starts. */
  readonly workingDirectory: string
  /** The value of `PATH` for the command. */
  readonly searchPath: string
  /** Whether the command uses a port. `false` for `--no-port`. */
  readonly hasPort: boolean
  /** How long the command may take to become ready. */
  readonly startTimeout: Duration.Duration
  /** Whether `exec` stops a command that is not ready in that time. */
  readonly mustBeReady: boolean
  /** How long the command may take to end after SIGTERM. A manager must wait longer before it kills the command. */
  readonly stopTimeout: Duration.Duration
}

/**
 * The options of a service definition.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceOptions {
  /** The profile of the gateway. It is part of the service's name, so that each profile has a service of its own. */
  readonly profile: string
  readonly scope: ServiceScope
  /** The absolute path of Node, which runs the script. */
  readonly execPath: string
  /** The absolute path of `dist/main.js`. */
  readonly scriptPath: string
  /**
   * The flags that the user gave, without their dashes, and their values. Paths are absolute, because a manager starts its
   * services in another folder. The flags `profile` and `supervisor` are ignored here, because `commandWords` always adds these
   * two flags itself.
   */
  readonly args: ReadonlyMap<string, string>
  /** The absolute path of the state directory. Under launchd, this directory contains the file of the service's error output. */
  readonly stateDir: string
  /** The setting `drainTimeout`. A stop can take this long, so a manager must wait longer before it kills the process. */
  readonly drainTimeout: Duration.Duration
  /** How long a stop may wait for the lease store, in addition to the drain or the stop of the command. Default: no lease, zero. */
  readonly releaseTimeout?: Duration.Duration | undefined
  readonly health: {
    /** How long a start can wait for an unhealthy owner before it fails. */
    readonly timeout: Duration.Duration
    /**
     * The longest time between two attempts of a start, while it waits for an unhealthy owner. The start notifies systemd at
     * least once in that time.
     */
    readonly retryInterval: Duration.Duration
  }
  /**
   * The user that a `system` service runs as. Defaults:
   *
   * - systemd: a user that exists only while the service runs (`DynamicUser=`);
   * - launchd: root;
   * - Windows: LocalSystem.
   *
   * On Windows, a task with scope `user` starts when this user logs on. Other services with scope `user` do not use this option.
   */
  readonly user?: string | undefined
  /**
   * The base port: the port on which the gateway listens. For a port below 1024, a system unit of systemd gets the capability to
   * bind that port (`CAP_NET_BIND_SERVICE`).
   */
  readonly port?: number | undefined
  /** The command that the service runs under the lock. Default: the service runs a gateway. */
  readonly exec?: GuardedCommand | undefined
}

const nameOf: Record<Manager, (profile: string) => string> = {
  systemd: (profile) => `gateway-${profile}.service`,
  launchd: (profile) => `dev.gateway-lock.${profile}`,
  schtasks: (profile) => `\\gateway-lock\\${profile}`
}

const fileNameOf: Record<Manager, (profile: string) => string> = {
  systemd: nameOf.systemd,
  launchd: (profile) => `${nameOf.launchd(profile)}.plist`,
  schtasks: (profile) => `gateway-${profile}.task.xml`
}

/**
 * The names of a profile's service and of its definition file.
 *
 * @since 0.1.0
 * @category naming
 */
export const serviceNames = (
  manager: Manager,
  profile: string
): { readonly name: string; readonly fileName: string } => ({
  name: nameOf[manager](profile),
  fileName: fileNameOf[manager](profile)
})

/**
 * The words of the service's command line. The program is the first word. With the option `exec`, the words after `--` are the
 * command that `gateway exec` runs.
 *
 * @since 0.1.0
 * @category constructors
 */
export const commandWords = (manager: Manager, options: ServiceOptions): readonly [string, ...Array<string>] => [
  options.execPath,
  options.scriptPath,
  options.exec === undefined ? "run" : "exec",
  ...flagWords("profile", options.profile),
  ...[...options.args].flatMap(([flag, value]) =>
    flag === "profile" || flag === "supervisor" ? [] : flagWords(flag, value)
  ),
  ...flagWords("supervisor", manager),
  ...(options.exec === undefined ? [] : [...options.exec.flags, "--", options.exec.program, ...options.exec.args])
]

/**
 * The words of one flag. A value that begins with a dash is joined to its flag with `=`, because the parser would otherwise read
 * the value as a flag.
 */
export const flagWords = (flag: string, value: string): ReadonlyArray<string> =>
  value.startsWith("-") ? [`--${flag}=${value}`] : [`--${flag}`, value]

const leaseUrlFile = ["lease-url-file", "lease-url"] as const

/**
 * The flags that name a file with a secret, each with the name of the credential as which a system unit of systemd passes the file to
 * the gateway. `gateway exec` reads no token.
 */
export const secretFiles = (
  { exec }: Pick<ServiceOptions, "exec">
): ReadonlyArray<readonly [flag: string, credential: string]> =>
  exec === undefined ? [["token-file", "token"], leaseUrlFile] : [leaseUrlFile]

/** How long a command of `gateway exec` may take to end after SIGTERM, by default. */
export const defaultStopTimeout = Duration.seconds(10)

/** A duration in whole seconds, rounded up, because the settings of the service managers are in seconds. */
export const wholeSeconds = (duration: Duration.Duration): number => Math.ceil(Duration.toSeconds(duration))

/**
 * How long the process may take to end after its drain or after its command, in seconds. The drain is the time in which open
 * connections may end. After that, the process only releases its lease and its lock.
 */
const stopMargin = 10

/** The options that limit how long a stop of the service may take. */
type StopOptions = Pick<ServiceOptions, "drainTimeout" | "releaseTimeout" | "exec">

/** How long a manager waits for a stop before it kills the process, in seconds. */
export const stopTimeout = ({ drainTimeout, exec, releaseTimeout }: StopOptions): number =>
  wholeSeconds(Duration.sum(exec?.stopTimeout ?? drainTimeout, releaseTimeout ?? Duration.zero)) + stopMargin

/**
 * How long a stop of the service may take before the manager kills the process.
 *
 * @since 0.1.0
 * @category timing
 */
export const longestStop = (options: StopOptions): Duration.Duration => Duration.seconds(stopTimeout(options))
