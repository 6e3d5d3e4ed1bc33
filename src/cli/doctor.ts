/**
 * `gateway doctor`: finds problems, and shows the command that fixes each.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Doctor from "../doctor/Doctor.ts"
import { DoctorReport, type Finding, isProblem, type Severity } from "../doctor/DoctorReport.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import { printable } from "../internal/printable.ts"
import * as GatewayConfig from "../settings/GatewayConfig.ts"
import type { ProcessFacts } from "../supervisor/Supervisor.ts"
import type { CommandLine } from "./CommandLine.ts"
import { Answered, ExitStatus } from "./ExitStatus.ts"
import * as Inspected from "./inspected.ts"
import { sameGateway } from "./sameGateway.ts"
import type { Style } from "./StatusReport.ts"
import { print } from "./Stdout.ts"

/** The JSON form, as the Schema `DoctorReport` describes it. */
export const toJson = (report: DoctorReport): string => JSON.stringify(Schema.encodeSync(DoctorReport)(report), null, 2)

/** Codes of foreground colours: the parameters of Select Graphic Rendition (ECMA-48, 8.3.117). */
const sgr: Readonly<Record<Severity, number>> = { ok: 32, info: 90, warning: 33, error: 31 }

const width = Math.max(...Object.keys(sgr).map((severity) => severity.length))

const line = ({ check, message, remedy, severity }: Finding, { colors }: Style): ReadonlyArray<string> => {
  const padded = severity.padEnd(width)
  return [
    `  ${colors ? `\u001b[${sgr[severity]}m${padded}\u001b[0m` : padded}  ${check}: ${printable(message)}`,
    ...(remedy === undefined ? [] : [`  ${"".padEnd(width)}  to fix it: ${printable(remedy)}`])
  ]
}

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`

/** The text form: the number of problems, then each finding with its remedy below. */
export const toText = (report: DoctorReport, style: Style): string => {
  const count = (severity: Severity) => report.findings.filter((finding) => finding.severity === severity).length
  return [
    `gateway ${report.profile}: ${
      report.findings.some(isProblem)
        ? `${counted(count("error"), "error")}, ${counted(count("warning"), "warning")}`
        : "no problems"
    }`,
    ...report.findings.flatMap((finding) => line(finding, style))
  ].join("\n")
}

export const doctor = (
  { flags, json }: Extract<CommandLine, { readonly _tag: "Doctor" }>,
  facts: ProcessFacts,
  style: Style
) =>
  Effect.gen(function*() {
    const { config, problems } = yield* GatewayConfig.resolveLenient(flags)
    const platform = yield* HostPlatform
    const report = yield* Doctor.examine({
      config,
      problems: problems.map(({ message }) => message),
      process: facts,
      uid: process.getuid?.(),
      // `sameGateway` appends the flags of this command to the words of the remedy. If a flag is repeated, the last value
      // counts. So if the remedy itself sets a flag, as in `run --port 18790` or `exec --no-port`, that flag of this command is not
      // appended.
      command: (words) =>
        sameGateway(
          words,
          new Map([...flags].filter(([flag]) => !words.includes(`--${flag} `) && !words.includes(`--no-${flag}`))),
          platform
        )
    })
    yield* print(json ? toJson(report) : toText(report, style))
    return new Answered({ status: report.healthy ? ExitStatus.ok : ExitStatus.failure })
  }).pipe(Effect.provide(Inspected.layer))
