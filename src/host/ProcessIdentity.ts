/**
 * Which process is meant, so that it is not mistaken for a later one with the same pid.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { optional } from "../internal/optional.ts"

const NonNegative = Schema.Number.pipe(Schema.finite(), Schema.nonNegative())
const Pid = Schema.Int.pipe(Schema.positive())

/**
 * What tells one process from every other: the pid alone does not, since pids repeat
 * (after a reboot, in another PID namespace, by wrapping around).
 *
 * The optional parts are absent where the platform has none.
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
 * @since 0.1.0
 * @category schemas
 */
export const ProcessIdentity: Schema.Schema<ProcessIdentity> = Schema.Struct(fields)

/**
 * For schemas that have these keys among others.
 *
 * @internal
 */
export const processIdentityFields = fields

/**
 * What is known about a recorded process. What cannot be told is `Unknown`, which proves nothing.
 *
 * @since 0.1.0
 * @category models
 */
export type Liveness = "Alive" | "Gone" | "Unknown"
