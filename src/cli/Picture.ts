/**
 * Composes one picture of a watched report for a terminal. Pure.
 */
import { breakToWidth, cutToWidth } from "./DisplayWidth.ts"
import type { Size } from "./Screen.ts"

export interface Picture {
  /** The first line. */
  readonly header: string
  /** The text of the report, with colours. */
  readonly report: string
  /** What to do with a line that is wider than the terminal. A table is cut, because its columns would not line up. */
  readonly overflow: "wrap" | "cut"
}

/** The rows of a picture. Rows that do not fit are counted in the last row. */
export const rowsOf = ({ header, overflow, report }: Picture, { columns, rows }: Size): ReadonlyArray<string> => {
  const lines = report.split("\n")
  const all = [
    cutToWidth(header, columns),
    "",
    ...(overflow === "wrap"
      ? lines.flatMap((line) => breakToWidth(line, columns))
      : lines.map((line) => cutToWidth(line, columns)))
  ]
  if (all.length <= rows) return all
  const shown = all.slice(0, Math.max(rows - 1, 1))
  return rows <= 1 ? shown : [...shown, cutToWidth(`… ${all.length - shown.length} more`, columns)]
}

/**
 * The sequences that draw the rows over the last picture: the cursor moves to the first column of the first row, each row clears
 * the rest of its line, and the last one clears what is below it. So no part of the screen is blank between two pictures.
 *
 * Terminals that know the private mode 2026 (synchronized output) show the whole picture at once. Others ignore it.
 */
export const draw = (picture: Picture, size: Size): string =>
  `\u001b[?2026h\u001b[H${
    rowsOf(picture, size).map((row) => `${row}\u001b[0m\u001b[K`).join("\r\n")
  }\u001b[J\u001b[?2026l`
