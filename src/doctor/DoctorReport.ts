/**
 * What `gateway doctor` finds, for programs as well.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { optional } from "../internal/optional.ts"

/**
 * What is looked at.
 *
 * @since 0.1.0
 * @category models
 */
export const Check = Schema.Literal(
  "config",
  "lock-folder",
  "filesystem-locks",
  "lock",
  "leftovers",
  "clock",
  "port",
  "supervisor",
  "unit"
)

/**
 * @since 0.1.0
 * @category models
 */
export type Check = typeof Check.Type

/**
 * `ok`: as it should be. `info`: worth knowing, nothing to do. `warning`: it works, and not as well as it could or not for
 * long. `error`: a gateway cannot start, or cannot be trusted.
 *
 * @since 0.1.0
 * @category models
 */
export const Severity = Schema.Literal("ok", "info", "warning", "error")

/**
 * @since 0.1.0
 * @category models
 */
export type Severity = typeof Severity.Type

/**
 * One thing that was found. A warning and an error have a remedy.
 *
 * @since 0.1.0
 * @category models
 */
export interface Finding extends Schema.Struct.Type<typeof findingFields> {}

const findingFields = {
  check: Check,
  severity: Severity,
  /** One line. */
  message: Schema.String,
  /** The command that mends it, to be typed into a shell. */
  remedy: optional(Schema.String)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Finding: Schema.Schema<Finding> = Schema.Struct(findingFields)

/**
 * What was found at one moment, as `gateway doctor --json` prints it.
 *
 * @example
 * import { Command } from "@effect/platform"
 * import { Effect, Schema } from "effect"
 * import { Doctor } from "gateway-lock"
 *
 * const remedies = Command.string(Command.make("gateway", "doctor", "--json")).pipe(
 *   Effect.flatMap(Schema.decode(Schema.parseJson(Doctor.DoctorReport.DoctorReport))),
 *   Effect.map(({ findings }) => findings.flatMap(({ remedy }) => remedy ?? []))
 * )
 *
 * @since 0.1.0
 * @category models
 */
export interface DoctorReport extends Schema.Struct.Type<typeof fields> {}

/**
 * The same as JSON: times in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface DoctorReportEncoded extends Schema.Struct.Encoded<typeof fields> {}

const fields = {
  /** Of this form; another meaning of a field is another version. */
  version: Schema.Literal(1),
  /** When it was looked. */
  asOf: Schema.DateTimeUtc,
  profile: Schema.String,
  configPath: Schema.String,
  stateDir: Schema.String,
  /** Neither a warning nor an error was found. */
  healthy: Schema.Boolean,
  findings: Schema.Array(Finding)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const DoctorReport: Schema.Schema<DoctorReport, DoctorReportEncoded> = Schema.Struct(fields)

/**
 * Whether a finding is one to mend. Pure.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isProblem = ({ severity }: Finding): boolean => severity === "warning" || severity === "error"

/**
 * A finding of what is as it should be. Pure, as the next ones.
 *
 * @internal
 */
export const ok = (check: Check, message: string): Finding => ({ check, severity: "ok", message })

/**
 * A finding that asks for nothing.
 *
 * @internal
 */
export const info = (check: Check, message: string): Finding => ({ check, severity: "info", message })

/**
 * A finding of what works and should be mended, with the command that does so.
 *
 * @internal
 */
export const warning = (check: Check, message: string, remedy: string): Finding => ({
  check,
  severity: "warning",
  message,
  remedy
})

/**
 * A finding of what keeps a gateway from running, or from being trusted, with the command that mends it.
 *
 * @internal
 */
export const error = (check: Check, message: string, remedy: string): Finding => ({
  check,
  severity: "error",
  message,
  remedy
})
