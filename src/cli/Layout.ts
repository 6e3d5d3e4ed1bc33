/**
 * Text in columns, wrapped to a width. Pure.
 */

/** Where nobody says how wide. */
export const defaultWidth = 80

/** Words with something on both sides of a space; a longer one stands out rather than be broken. */
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

/** What stands on the left, and the paragraphs on its right. */
export type Row = readonly [left: string, ...right: ReadonlyArray<string>]

const indent = "  "
const gap = 2

/** Beyond this, a left side stands on a line of its own. */
const widestLeft = 28

/** The right column is never narrower; where the terminal is, it begins on the next line. */
const narrowestRight = 24

/**
 * Rows in two columns.
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
