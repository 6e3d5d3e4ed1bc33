/**
 * Prints results as a table for a terminal, or as the rows of `docs/benchmarks.md`.
 */
import type { Aim, Measured, Spread } from "./measure.ts"
import type { Format } from "./options.ts"

/** A figure, measured without `NODE_EXTRA_CA_CERTS`, and with it if it contains the start of a process. */
export interface Figure extends Measured {
  readonly certificates: Measured | null
}

/** The results of a run: values for `--json`, and text. */
export interface Results {
  readonly values: Readonly<Record<string, unknown>>
  readonly text: string
  /** The experiments that failed, each with its reason. */
  readonly failures?: ReadonlyArray<string>
}

type Cells = ReadonlyArray<string>

/** A table for a terminal, or for Markdown. The first line is the header. */
export const table = (format: Format, lines: ReadonlyArray<Cells>): string => {
  if (format === "markdown") {
    const [header = [], ...rows] = lines.map((cells) => `| ${cells.join(" | ")} |`)
    return [header, `|${"---|".repeat(lines[0]?.length ?? 0)}`, ...rows].join("\n")
  }
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((cells) => cells[column]?.length ?? 0)))
  return lines.map((cells) => cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  ").trimEnd()).join("\n")
}

export const quartiles = (digits: number, { lowerQuartile, upperQuartile }: Spread): string =>
  `[${lowerQuartile.toFixed(digits)}, ${upperQuartile.toFixed(digits)}]`

/** Large numbers have no digits after the point, because they would say nothing. */
export const digitsOf = ({ median }: Spread): number => Math.abs(median) >= 100 ? 0 : 1

const amount = (unit: string, spread: Spread): string =>
  `${spread.median.toFixed(digitsOf(spread))} ${unit} ${quartiles(digitsOf(spread), spread)}`

const describeAim = (format: Format, aim: Aim, suffix: string): string => {
  const [most, least] = format === "markdown" ? ["≤", "≥"] : ["<=", ">="]
  return "most" in aim ? `${most} ${aim.most}${suffix}` : `${least} ${aim.least}${suffix}`
}

/** What the figure says: a ratio, a difference, a 95th percentile, or an amount. */
export const compared = ({ comparison, subject, unit }: Measured): string => {
  switch (comparison.kind) {
    case "ratio":
      return `${comparison.median.toFixed(2)} x ${quartiles(2, comparison)}`
    case "difference":
      return `${comparison.median < 0 ? "" : "+"}${amount(unit, comparison)}`
    case "absolute":
      return `median ${subject.median.toFixed(1)}, p95 ${comparison.median.toFixed(1)} ${unit}, slowest ${
        comparison.upperQuartile.toFixed(1)
      }`
    case "alone":
      return amount(unit, comparison)
  }
}

const aimOf = (format: Format, { aim, comparison, unit }: Measured): string =>
  aim === null ? "-" : describeAim(format, aim, comparison.kind === "ratio" ? "" : ` ${unit}`)

const isMet = ({ met }: Measured): string => met === null ? "-" : met ? "yes" : "no"

const header = ["figure", "baseline", "compared", "with certificates", "aim", "met", "subject", "runs"]

const line = (format: Format) => (figure: Figure): Cells => [
  figure.name,
  figure.baseline === null ? "-" : `${figure.baseline.name}: ${amount(figure.unit, figure.baseline)}`,
  compared(figure),
  figure.certificates === null ? "-" : compared(figure.certificates),
  aimOf(format, figure),
  isMet(figure),
  amount(figure.unit, figure.subject),
  String(figure.runs)
]

/** The columns of the page: the reader of it can compute the subject from the baseline and the ratio. */
const pageColumns = 6

const forPage = (cells: Cells): Cells => cells.slice(0, pageColumns)

export const results = (format: Format, figures: ReadonlyArray<Figure>): string => {
  const lines = [header, ...figures.map(line(format))]
  return table(format, format === "markdown" ? lines.map(forPage) : lines)
}

/** One line a figure, one column a version of Node: without certificates, and in the second table with them. */
export const byNode = (
  format: Format,
  nodes: ReadonlyArray<{ readonly node: string; readonly figures: ReadonlyArray<Figure> }>
): string => {
  const [first] = nodes
  if (first === undefined) return ""
  const cell = (at: number, read: (figure: Figure) => string) => ({ figures }: (typeof nodes)[number]): string => {
    const figure = figures[at]
    return figure === undefined ? "-" : read(figure)
  }
  const verdict = (figure: Figure): string => figure.met === false ? `${compared(figure)}, not met` : compared(figure)
  const withCertificates = ({ certificates }: Figure): string => certificates === null ? "-" : compared(certificates)
  return table(format, [
    ["figure", "aim", ...nodes.flatMap(({ node }) => [node, `${node}, with certificates`])],
    ...first.figures.map((figure, at) => [
      figure.name,
      aimOf(format, figure),
      ...nodes.flatMap((node) => [cell(at, verdict)(node), cell(at, withCertificates)(node)])
    ])
  ])
}

/** Explains the columns. */
export const legend =
  `Medians, with quartiles in brackets. Compared: subject with baseline in each pair of runs, then the median of the pairs.
Compared is measured without NODE_EXTRA_CA_CERTS, and so are the baseline, the subject and the aim.`
