/**
 * The report of `gateway doctor`, and its JSON form.
 *
 * @since 0.1.0
 */
import type { Check, Finding } from "./DoctorModel.ts"

export { Check, DoctorReport, type DoctorReportEncoded, Finding, Severity } from "./DoctorModel.ts"

/**
 * Whether a finding needs a fix: a warning or an error. Pure.
 *
 * @example
 * import { Doctor } from "gateway-lock"
 *
 * const problems = (report: Doctor.DoctorReport.DoctorReport) => report.findings.filter(Doctor.DoctorReport.isProblem)
 *
 * @since 0.1.0
 * @category predicates
 */
export const isProblem = ({ severity }: Finding): boolean => severity === "warning" || severity === "error"

/**
 * Makes a finding that reports no problem. Pure.
 *
 * @internal
 */
export const ok = (check: Check, message: string): Finding => ({ check, severity: "ok", message })

/**
 * Makes a finding that needs no action. Pure.
 *
 * @internal
 */
export const info = (check: Check, message: string): Finding => ({ check, severity: "info", message })

/**
 * Makes a finding about something that works but should be fixed, with the command that fixes it. Pure.
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
 * Makes a finding about something that prevents a reliable gateway, with the command that fixes it. Pure.
 *
 * @internal
 */
export const error = (check: Check, message: string, remedy: string): Finding => ({
  check,
  severity: "error",
  message,
  remedy
})
