/**
 * Identifies a process, so that it is not mistaken for a later process with the same pid.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { optional } from "../internal/optional.ts"

const NonNegative = Schema.Number.pipe(Schema.finite(), Schema.nonNegative())
const Pid = Schema.Int.pipe(Schema.positive())

/**
 * The facts that identify a process. A pid alone is not enough, because pids repeat: after a reboot, in another PID
 * namespace, or when the counter wraps around.
 *
 * The optional parts are absent on platforms that do not have them.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessIdentity extends Schema.Struct.Type<typeof fields> {}

const fields = {
  pid: Pid,
  /** When the process started: clock ticks since boot on Linux, milliseconds since the epoch elsewhere. */
  startTime: optional(NonNegative),
  /** `/proc/sys/kernel/random/boot_id`, new at each boot (random(4)). */
  bootId: optional(Schema.String),
  /** The PID namespace's link text, such as `pid:[4026531836]` (pid_namespaces(7)). */
  pidNamespace: optional(Schema.String)
}

/**
 * The schema of a process identity.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ProcessIdentity: Schema.Schema<ProcessIdentity> = Schema.Struct(fields)

/**
 * The fields of a process identity, for schemas that contain these keys among others.
 *
 * @internal
 */
export const processIdentityFields = fields

/**
 * Whether the process that a lock file's record describes is still running. `Unknown` means that the system does not show whether
 * the process runs. So `Unknown` proves neither that the process runs nor that it has ended.
 *
 * @since 0.1.0
 * @category models
 */
export type Liveness = "Alive" | "Gone" | "Unknown"
