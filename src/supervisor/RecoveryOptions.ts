/**
 * What recovery can be told, and what it does where it is not.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { Address } from "../Address.ts"
import type { SupervisorKind } from "./Supervisor.ts"

/**
 * How long an owner is waited for. The names are those of the config file, below `health`.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecoveryHealthOptions {
  /** Between two attempts while the owner does not change. Default 5 seconds. */
  readonly retryInterval?: Duration.DurationInput | undefined
  /** How long `recover` waits for an unhealthy owner. It does not bound a start that has the lock. Default 5 minutes. */
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * Who started us, what for, and for how long an owner in the way is waited for.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecoveryOptions {
  /** With `none`, `recover` is the start as it is. */
  readonly supervisor: SupervisorKind
  /** What the gateway would serve. */
  readonly address: Address
  /** How patient it is with an owner. */
  readonly health?: RecoveryHealthOptions | undefined
  /** Run once, before the first wait and its log line: for what the start will need and may not find later. Default nothing. */
  readonly beforeWaiting?: Effect.Effect<void> | undefined
  /** Told of every change of state, and before each wait. */
  readonly onWaiting?: ((waiting: RecoveryWaiting) => Effect.Effect<void>) | undefined
}

/**
 * What a start waits for.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecoveryWaiting {
  /** Whom or what it waits for, in words. */
  readonly status: string
  /** How long this wait may take. */
  readonly for: Duration.Duration
}

/**
 * What holds where an option is left out.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults = {
  health: {
    retryInterval: Duration.seconds(5),
    timeout: Duration.minutes(5)
  },
  /** How often an owner that cannot be watched is asked, and its lock is tried. */
  pollInterval: Duration.seconds(1)
} as const
