/**
 * Which lock files a start acquires, and how long it waits for them.
 */
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { Address } from "../Address.ts"
import type { SupervisorKind } from "../GatewayLockError.ts"
import type { HealthProbeOptions } from "../probe/HealthProbe.ts"

/**
 * How long a start waits for the lock, and how its holder keeps it. The names are those of the config file, below `lock`. Times
 * may be given in any form of `Duration.DurationInput`; a number is milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockOptions {
  /** How long to wait for an owner that does not serve our port. Default 5 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /** How often to try again meanwhile. Default 100 milliseconds. */
  readonly pollInterval?: Duration.DurationInput | undefined
  /** How old an unreadable or unverifiable record must be before it can be stale, in record-only mode. Default 30 seconds. */
  readonly staleAfter?: Duration.DurationInput | undefined
  /**
   * How often the holder checks that the files are still its own, restores lost ones, and keeps them young; at least three
   * times within `staleAfter`, which wins where the two contradict each other. Default 30 seconds.
   */
  readonly recheckInterval?: Duration.DurationInput | undefined
}

/**
 * Which lock files, and how patiently.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockFileOptions {
  /** Where the `locks` folder is, or will be made (mode 0700). */
  readonly stateDir: string
  /** The canonical path of the config file, which may be absent. Its hash names the lock file. */
  readonly configPath: string
  /**
   * The absolute path of the config file with its links unresolved. Readers find the owner by it when a link of it leads
   * elsewhere meanwhile, as in a folder of Kubernetes or of releases. Default: `configPath`.
   */
  readonly configName?: string | undefined
  /** What will be served under the lock. Without it no port is asked while waiting. */
  readonly address?: Address | undefined
  /** Whether that address is a socket of ours already, passed by a supervisor: then it is not asked either. */
  readonly isPassedSocket?: boolean | undefined
  /** How long to wait for the lock, and how to keep it. */
  readonly lock?: LockOptions | undefined
  /** Run before a wait and its log line: for what the start will need and may not find later. Default nothing. */
  readonly beforeWaiting?: Effect.Effect<void> | undefined
  /** Who started us, for the record. Default `none`. */
  readonly supervisor?: SupervisorKind | undefined
  /** Why we think so, for the record. */
  readonly supervisorReason?: string | undefined
}

/**
 * The same, and how the health of an owner is asked.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockWithProbesOptions extends LockFileOptions {
  readonly health?: HealthProbeOptions | undefined
}

/**
 * What holds where an option is left out.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults = {
  lock: {
    timeout: Duration.seconds(5),
    pollInterval: Duration.millis(100),
    staleAfter: Duration.seconds(30),
    recheckInterval: Duration.seconds(30)
  }
} as const

/** The times among the options, with the defaults where nothing is said. */
export const timesOf = ({ lock = {} }: Pick<LockFileOptions, "lock">) => ({
  timeout: Duration.decode(lock.timeout ?? defaults.lock.timeout),
  pollInterval: Duration.decode(lock.pollInterval ?? defaults.lock.pollInterval),
  staleAfter: Duration.decode(lock.staleAfter ?? defaults.lock.staleAfter),
  recheckInterval: Duration.decode(lock.recheckInterval ?? defaults.lock.recheckInterval)
})
