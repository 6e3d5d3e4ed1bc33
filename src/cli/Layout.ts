/**
 * Lays out text in columns and wraps it to a width. Pure.
 */

/** The width if stdout is not a terminal. */
export const defaultWidth = 80

/** Wraps a text at its spaces. A word that is longer than the width is not broken. */
export const wrap = (text: string, width: number): ReadonlyArray<string> => {
  const lines: Array<string> = []
  let line = ""
  for (const word of text.split(" ")) {
    if (line === "") line = word
    else if (line.length + 1 + word.length <= width) line += ` ${word}`
    else {
      lines.push(line)
      line = word
    }
  }
  return [...lines, line]
}

/** The text of the left column, and the paragraphs of the right column. */
export type Row = readonly [left: string, ...right: ReadonlyArray<string>]

const indent = "  "
const gap = 2

/** The maximum width of the left column. A longer text gets its own line, and does not widen the column. */
const widestLeft = 28

/** The minimum width of the right column. If the terminal is too narrow for it, the right column starts on the next line. */
const narrowestRight = 24

/**
 * Lays out rows in two columns.
 */
export const table = (rows: ReadonlyArray<Row>, width: number): string => {
  const lefts = rows.map(([left]) => left.length).filter((length) => length <= widestLeft)
  const beside = indent.length + Math.max(0, ...lefts) + gap
  const start = width - beside < narrowestRight ? indent.length * 3 : beside
  return rows.flatMap(([left, ...paragraphs]) => {
    const right = paragraphs.filter((text) => text !== "").flatMap((text) => wrap(text, Math.max(1, width - start)))
    const first = `${indent}${left}`
    const margin = " ".repeat(start)
    const [head, ...rest] = right
    return head !== undefined && first.length + gap <= start
      ? [`${first.padEnd(start)}${head}`, ...rest.map((line) => `${margin}${line}`)]
      : [first, ...right.map((line) => `${margin}${line}`)]
  }).join("\n")
}
