/**
 * The options of `Recovery`, and their defaults.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { Address } from "../Address.ts"
import type { SupervisorKind } from "./Supervisor.ts"

/**
 * The limits of the wait for an owner (another process that has the lock or the port) that is not healthy. In the config file, the
 * settings within the object `health` have the same names.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecoveryHealthOptions {
  /** The interval between two attempts to start while the owner does not change. Default 5 seconds. */
  readonly retryInterval?: Duration.DurationInput | undefined
  /**
   * How long `recover` waits until an unhealthy owner becomes healthy or ends. This timeout does not limit a start that holds the
   * lock itself. Default 5 minutes.
   */
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * The options of `recover` and `standby`: the supervisor, the address to serve, and how long to wait while another process owns the
 * lock or the port.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecoveryOptions {
  /** The supervisor of this process. With `none`, `recover` makes one attempt to start and does not wait. */
  readonly supervisor: SupervisorKind
  /** The address that the gateway serves after a successful start. */
  readonly address: Address
  /** How long to wait until an unhealthy owner becomes healthy or ends. `standby` does not use this option. */
  readonly health?: RecoveryHealthOptions | undefined
  /**
   * Runs once, before the first wait and before the log line about that wait. The files of the program may be removed during a
   * wait. So use this effect to load the files that the start needs after the wait. Default: nothing.
   */
  readonly beforeWaiting?: Effect.Effect<void> | undefined
  /** Called before a wait if the wait's `status` is new, or if the wait may end later than the last reported wait. */
  readonly onWaiting?: ((waiting: RecoveryWaiting) => Effect.Effect<void>) | undefined
}

/**
 * The state of a start that waits because another process owns the lock or the port.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecoveryWaiting {
  /** What the start waits for, in words. */
  readonly status: string
  /** How long this wait may take. */
  readonly for: Duration.Duration
}

/**
 * The defaults of the options in `health`, and the poll interval, which is not an option.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults = {
  health: {
    retryInterval: Duration.seconds(5),
    timeout: Duration.minutes(5)
  },
  /**
   * The interval at which a start probes an owner that it cannot watch over an open connection. It is also the interval between
   * two attempts to start, if this process cannot see the owner's end.
   */
  pollInterval: Duration.seconds(1)
} as const
