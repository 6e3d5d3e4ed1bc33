/**
 * What a stop is told, what it needs from the machine, and what holds where an option is left out.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { Address } from "../Address.ts"
import type { KernelLock } from "../host/KernelLock.ts"
import type { PortOwners } from "../host/PortOwners.ts"
import type { ProcessTable } from "../host/ProcessTable.ts"
import type { Signals } from "../host/Signals.ts"
import type { PortProbe } from "../probe/PortProbe.ts"

/**
 * Whose lock, and how patiently.
 *
 * @since 0.1.0
 * @category models
 */
export interface StopOptions {
  /** The lock file of the config. */
  readonly path: string
  /** Where the gateway listens by its settings: who is there is told where no owner is found. */
  readonly address: Address
  /** Names the service that a supervisor knows the owner by. */
  readonly profile: string
  /** How long the owner may take after SIGTERM: its drain timeout and `defaults.margin`, by rights. */
  readonly timeout: Duration.DurationInput
  /** SIGKILL after that. Default `false`. */
  readonly force?: boolean | undefined
  /** What becomes of an owner in the hands of a supervisor that has a command for it. Default: `refuse` without `force`. */
  readonly supervised?: "refuse" | "stop" | undefined
  /** The command that does this, as it was typed but for `--force`: advice repeats it. Default `gateway stop`. */
  readonly command?: string | undefined
  /** The same for another user, who has other folders. Default: `command`. */
  readonly commandAsOther?: string | undefined
  /** Is told what is waited for, every `progressInterval`. */
  readonly onWaiting?: ((waiting: Waiting) => Effect.Effect<void>) | undefined
  /** Default 3 seconds. */
  readonly progressInterval?: Duration.DurationInput | undefined
}

/**
 * What is waited for, while it is.
 *
 * @since 0.1.0
 * @category models
 */
export interface Waiting {
  readonly pid: number
  /** In words. */
  readonly for: string
  /** Since the signal. */
  readonly elapsed: Duration.Duration
}

/**
 * What holds where an option is left out, and what no option changes.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults = {
  /** Besides the drain: what the rest of a shutdown may take. */
  margin: Duration.seconds(5),
  /** What a process may take to be gone after SIGKILL. */
  killTimeout: Duration.seconds(5),
  progressInterval: Duration.seconds(3)
} as const

/**
 * What stopping needs from the machine.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements = FileSystem.FileSystem | KernelLock | ProcessTable | Signals | PortProbe | PortOwners

/** The command that was typed, but for `--force`. */
export const commandOf = ({ command }: StopOptions): string => command ?? "gateway stop"
