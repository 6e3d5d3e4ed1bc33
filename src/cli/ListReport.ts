/**
 * Formats the list of gateways as text and as JSON. Pure.
 */
import * as Schema from "effect/Schema"
import { toUrl } from "../Address.ts"
import { GatewayList } from "../inspect/GatewayList.ts"
import { printable } from "../internal/printable.ts"
import { describeProcess, describeSince } from "../report/words.ts"
import { displayWidth, padToWidth } from "./DisplayWidth.ts"
import { paintVerdict, type Style, verdictWords } from "./StatusReport.ts"

const header = ["PROFILE", "VERDICT", "OWNER", "ADDRESS", "SINCE", "STATE DIRECTORY"] as const

const cells = (
  { owner, port, profile, stateDir, verdict }: GatewayList["gateways"][number],
  nowMillis: number
): ReadonlyArray<string> => {
  const address = port ??
    (owner?.host === undefined || owner.port === undefined || owner.port === 0
      ? undefined
      : { host: owner.host, port: owner.port })
  return [
    profile ?? "-",
    verdictWords(verdict),
    owner === undefined ? "-" : describeProcess(owner),
    address === undefined ? "-" : toUrl(address),
    owner?.since === undefined ? "-" : describeSince(owner.since, nowMillis),
    stateDir
  ].map(printable)
}

/** The text form: one line for each gateway, then the places that could not be searched. */
export const toText = (list: GatewayList, nowMillis: number, style: Style): string => {
  const lines = list.gateways.map((gateway) => ({ verdict: gateway.verdict, cells: cells(gateway, nowMillis) }))
  const widths = header.map((name, column) =>
    Math.max(name.length, ...lines.map(({ cells }) => displayWidth(cells[column] ?? "")))
  )
  const pad = (text: string, column: number) =>
    column === header.length - 1 ? text : padToWidth(text, widths[column] ?? 0)
  return [
    ...(lines.length === 0 ? ["this user has no gateway on this host"] : [header.map(pad).join("  ")]),
    ...lines.map(({ cells, verdict }) =>
      cells.map((text, column) => column === 1 ? paintVerdict(pad(text, column), verdict, style) : pad(text, column))
        .join("  ")
    ),
    ...list.notCovered.map((line) => `not covered: ${printable(line)}`)
  ].join("\n")
}

/** The JSON form, as the Schema `GatewayList` describes it. */
export const toJson = (list: GatewayList): string => JSON.stringify(Schema.encodeSync(GatewayList)(list), null, 2)
