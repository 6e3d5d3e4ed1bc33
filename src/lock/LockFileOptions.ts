/**
 * Which lock files a start acquires, and how long it waits for them.
 */
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { Address } from "../Address.ts"
import type { SupervisorKind } from "../GatewayLockError.ts"
import type { HealthProbeOptions } from "../probe/HealthProbe.ts"
import type { OwnerRecord } from "./OwnerRecord.ts"

/**
 * How long a start waits for the lock, and how the holder keeps it. The options have the names of the settings below
 * `lock` in the config file. Times can have any form of `Duration.DurationInput`. A number is in milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockOptions {
  /**
   * How long a start waits for the owner to release the lock. If the start's own port is in use, or the owner serves on
   * another port, the start fails at once. Default 5 seconds.
   */
  readonly timeout?: Duration.DurationInput | undefined
  /** The time between two attempts while a start waits for the lock. Default 100 milliseconds. */
  readonly pollInterval?: Duration.DurationInput | undefined
  /**
   * Used only by a start for which no kernel lock is available. If the record in a lock file is unreadable, or if the
   * start cannot tell whether the owner is alive, it may take the lock once the file is older than `staleAfter`. Default
   * 30 seconds.
   */
  readonly staleAfter?: Duration.DurationInput | undefined
  /**
   * The time between two checks by the holder of the lock. In each check the holder restores lock files that are lost,
   * and writes its record again, so that the files do not look stale because of their age. The holder checks at least
   * three times within `staleAfter`, even if this interval is longer. Default 30 seconds.
   */
  readonly recheckInterval?: Duration.DurationInput | undefined
}

/**
 * Which lock files to acquire, and how long to wait for them.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockFileOptions {
  /** The state directory. It contains the `locks` folder, which a start makes (mode 0700) if that folder is missing. */
  readonly stateDir: string
  /** The canonical path of the config file. The file may be absent. A hash of the path is in the name of the lock file. */
  readonly configPath: string
  /**
   * The absolute path of the config file with its symbolic links unresolved. A link in it can change to another target,
   * as in a Kubernetes volume or a release folder. Even after such a change, readers find the owner by this path.
   * Default: `configPath`.
   */
  readonly configName?: string | undefined
  /** The address that the start will serve once it holds the lock. Without an address, no port is probed during the wait. */
  readonly address?: Address | undefined
  /**
   * Whether a supervisor passed a socket that listens on `address` to this process. If so, the port is not probed,
   * because the probe would take the supervisor's socket for another gateway's.
   */
  readonly isPassedSocket?: boolean | undefined
  /** How long to wait for the lock, and how the holder keeps it. */
  readonly lock?: LockOptions | undefined
  /**
   * Runs before the start waits for the lock, and before the log line about that wait. For example, it loads code that
   * the start needs later, because an upgrade may remove the files of that code during the wait. Default: nothing.
   */
  readonly beforeWaiting?: Effect.Effect<void> | undefined
  /** The supervisor that started this process. The start writes it into the owner record. Default `none`. */
  readonly supervisor?: SupervisorKind | undefined
  /** Why the start assumes the supervisor in `supervisor`. The start writes this reason into the owner record. */
  readonly supervisorReason?: string | undefined
  /**
   * `exec` for a wrapper that starts another program and keeps the lock for it. The start writes the mode into the owner record.
   * Default `run`.
   */
  readonly mode?: OwnerRecord["mode"]
  /**
   * The rule by which the owner counts as healthy, for an owner that does not answer at `/healthz`. The start writes this rule into
   * the owner record. Default: `none` for an owner without an address, which is healthy while it holds the lock.
   */
  readonly ready?: OwnerRecord["ready"]
  /**
   * Whether the lock files that were acquired first stay locked until the release, even if other files take their place. A leader
   * names these files to other hosts, and a process that can lock them proves that the leader is dead. Default `false`.
   */
  readonly keepsFirst?: boolean | undefined
}

/**
 * `LockFileOptions`, with options for the health probe of an owner.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockWithProbesOptions extends LockFileOptions {
  readonly health?: HealthProbeOptions | undefined
}

/**
 * The values that apply if an option is left out.
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

/** The times among the options, with defaults for those that are left out. */
export const timesOf = ({ lock = {} }: Pick<LockFileOptions, "lock">) => ({
  timeout: Duration.decode(lock.timeout ?? defaults.lock.timeout),
  pollInterval: Duration.decode(lock.pollInterval ?? defaults.lock.pollInterval),
  staleAfter: Duration.decode(lock.staleAfter ?? defaults.lock.staleAfter),
  recheckInterval: Duration.decode(lock.recheckInterval ?? defaults.lock.recheckInterval)
})
