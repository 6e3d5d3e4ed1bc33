/**
 * What a service definition is made from, and what follows from it for each manager alike: the names of the service, its
 * command line and how long its stop may take.
 */
import * as Duration from "effect/Duration"

/**
 * The managers there are, by the names that `--supervisor` knows.
 *
 * @since 0.1.0
 * @category models
 */
export const managers = ["systemd", "launchd", "schtasks"] as const

/**
 * @since 0.1.0
 * @category models
 */
export type Manager = typeof managers[number]

/**
 * `user`: runs while that user is logged in. `system`: runs from boot; needs root or an administrator to install.
 *
 * @since 0.1.0
 * @category models
 */
export type ServiceScope = "user" | "system"

/**
 * @since 0.1.0
 * @category models
 */
export interface ServiceOptions {
  /** Names the service: two profiles are two services. */
  readonly profile: string
  readonly scope: ServiceScope
  /** The absolute path of the program that runs the script: node. */
  readonly execPath: string
  /** The absolute path of `dist/main.js`. */
  readonly scriptPath: string
  /**
   * The flags that were given, without their dashes, and their values; paths absolute, since a manager starts its
   * services in another folder. Profile and supervisor are always written, and not taken from here.
   */
  readonly args: ReadonlyMap<string, string>
  /** Absolute; holds the error output under launchd. */
  readonly stateDir: string
  /** `drainTimeout`: a stop takes this long, so that a manager must wait longer. */
  readonly drainTimeout: Duration.Duration
  readonly health: {
    /** A start can take this long and then fail. */
    readonly timeout: Duration.Duration
    /** How far apart signs of life from a waiting start can be. */
    readonly retryInterval: Duration.Duration
  }
  /**
   * Who runs a service of the system. Default: on systemd a user that exists only while the service runs (`DynamicUser=`),
   * on launchd root, on Windows LocalSystem. For a user's task on Windows, the user at whose logon it starts. Not used
   * elsewhere.
   */
  readonly user?: string | undefined
  /** The base port. A service of the system on a port below 1024 keeps the capability to bind it. */
  readonly port?: number | undefined
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
 * What the manager calls the service of a profile, and what its file is called.
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
 * The words of the command line, program first.
 *
 * @since 0.1.0
 * @category constructors
 */
export const commandWords = (manager: Manager, options: ServiceOptions): readonly [string, ...Array<string>] => [
  options.execPath,
  options.scriptPath,
  "run",
  ...flagWords("profile", options.profile),
  ...[...options.args].flatMap(([flag, value]) =>
    flag === "profile" || flag === "supervisor" ? [] : flagWords(flag, value)
  ),
  ...flagWords("supervisor", manager)
]

/** A value that looks like a flag is one word with its flag: else the command line would be refused. */
const flagWords = (flag: string, value: string): ReadonlyArray<string> =>
  value.startsWith("-") ? [`--${flag}=${value}`] : [`--${flag}`, value]

/** The flag of the token's file. A system unit of systemd passes that file as a credential. */
export const tokenFileFlag = "token-file"

/** A duration as the managers take it. */
export const wholeSeconds = (duration: Duration.Duration): number => Math.ceil(Duration.toSeconds(duration))

/** Between the end of the drain and the end of the process: the lock is released, and nothing more. */
const stopMargin = 10

/** How long a manager waits for a stop before it kills, in seconds. */
export const stopTimeout = (options: Pick<ServiceOptions, "drainTimeout">): number =>
  wholeSeconds(options.drainTimeout) + stopMargin

/**
 * How long a stop of the service may take before its manager ends it by force.
 *
 * @since 0.1.0
 * @category timing
 */
export const longestStop = (options: Pick<ServiceOptions, "drainTimeout">): Duration.Duration =>
  Duration.seconds(stopTimeout(options))
