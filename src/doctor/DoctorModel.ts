/**
 * The schemas of the report of `gateway doctor`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { optional } from "../internal/optional.ts"

/**
 * The subject of a finding.
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
  "lease",
  "supervisor",
  "unit"
)

/**
 * @since 0.1.0
 * @category models
 */
export type Check = typeof Check.Type

/**
 * How serious a finding is.
 *
 * - `ok`: no problem.
 * - `info`: worth knowing; no action is needed.
 * - `warning`: the gateway works, but it has a weakness or may soon fail.
 * - `error`: the gateway cannot start, or cannot be trusted.
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
 * One result of an examination by `gateway doctor`. Warnings and errors have a remedy.
 *
 * @since 0.1.0
 * @category models
 */
export interface Finding extends Schema.Struct.Type<typeof findingFields> {}

const findingFields = {
  check: Check,
  severity: Severity,
  /** The description of the finding, in one line. */
  message: Schema.String,
  /** The shell command that fixes the problem. */
  remedy: optional(Schema.String)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Finding: Schema.Schema<Finding> = Schema.Struct(findingFields)

/**
 * All findings at one moment, as `gateway doctor --json` prints them.
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
 * The JSON form of `DoctorReport`. Times are in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface DoctorReportEncoded extends Schema.Struct.Encoded<typeof fields> {}

const fields = {
  /** The version of the report's form. It changes if a field changes its meaning. */
  version: Schema.Literal(1),
  /** When the findings were collected. */
  asOf: Schema.DateTimeUtc,
  profile: Schema.String,
  configPath: Schema.String,
  stateDir: Schema.String,
  /** Whether there is neither a warning nor an error. */
  healthy: Schema.Boolean,
  findings: Schema.Array(Finding)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const DoctorReport: Schema.Schema<DoctorReport, DoctorReportEncoded> = Schema.Struct(fields)
