/**
 * The options of a stop, their defaults, and the services of the machine that a stop needs.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { Address } from "../Address.ts"
import type { KernelLock } from "../host/KernelLock.ts"
import type { OpenLockFiles } from "../host/OpenLockFiles.ts"
import type { PortOwners } from "../host/PortOwners.ts"
import type { ProcessTable } from "../host/ProcessTable.ts"
import type { Signals } from "../host/Signals.ts"
import type { PortProbe } from "../probe/PortProbe.ts"

/**
 * Selects the owner to stop (the gateway that holds the lock), and sets how long to wait until that owner has ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface StopOptions {
  /** The path of the lock file that the gateway holds for its config file. */
  readonly path: string
  /**
   * The configured address of the gateway. If no process holds the lock, the outcome of the stop describes the listeners on this
   * address.
   */
  readonly address: Address
  /** The profile of the gateway. Under a supervisor, the name of the gateway's service contains the profile. */
  readonly profile: string
  /** How long the owner may take to end after SIGTERM. Pass the drain timeout of the owner plus `defaults.margin`. */
  readonly timeout: Duration.DurationInput
  /** Whether to send SIGKILL after `timeout`. Default `false`. */
  readonly force?: boolean | undefined
  /**
   * What to do if a supervisor runs the owner, and the stop command of that supervisor is known. With `refuse`, the stop fails
   * with `OwnerSupervised`. With `stop`, the owner is signalled. The default is `stop` if `force` is set, and `refuse` otherwise.
   */
  readonly supervised?: "refuse" | "stop" | undefined
  /** The command that the user typed, without `--force`. The advice of errors repeats this command. Default `gateway stop`. */
  readonly command?: string | undefined
  /**
   * The command that another user must type for the same effect. It can differ from `command`, because the default folders of
   * another user are different. Default: `command`.
   */
  readonly commandAsOther?: string | undefined
  /** Called every `progressInterval` while the stop waits for the owner to end. */
  readonly onWaiting?: ((waiting: Waiting) => Effect.Effect<void>) | undefined
  /** The interval between two calls of `onWaiting`. Default 3 seconds. */
  readonly progressInterval?: Duration.DurationInput | undefined
}

/**
 * The progress of a stop that waits until the owner has ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface Waiting {
  readonly pid: number
  /** What the stop waits for, in words. */
  readonly for: string
  /** The time since the wait began. The wait begins directly after the signal. */
  readonly elapsed: Duration.Duration
}

/**
 * The defaults of the options. `margin` and `killTimeout` are not options: these two times are fixed.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults = {
  /** The time that a shutdown may take in addition to the drain. */
  margin: Duration.seconds(5),
  /** How long an owner may take to end after SIGKILL. */
  killTimeout: Duration.seconds(5),
  progressInterval: Duration.seconds(3)
} as const

/**
 * The services of the machine that a stop needs.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements =
  | FileSystem.FileSystem
  | KernelLock
  | ProcessTable
  | Signals
  | PortProbe
  | PortOwners
  | OpenLockFiles

/** The command that the user typed, without `--force`. */
export const commandOf = ({ command }: StopOptions): string => command ?? "gateway stop"
