/**
 * The width of a text on a terminal, in columns. Chinese, Japanese and Korean characters and emoji take two columns each, and
 * combining marks take none. Pure.
 *
 * Terminals disagree on some emoji sequences. A caller must not rely on the width alone to keep a line on one row.
 */

/** Codes that set colours (Select Graphic Rendition, ECMA-48, 8.3.117). They take no column. */
const sgr = /\p{Cc}\[[\d;]*m/u

/** A text of which each character takes one column. Most texts match, and need no search for characters. */
const plain = /^[\u0020-\u007e]*$/

const makeTools = () => ({
  wide: new RegExp(
    `^[\\p{Emoji_Presentation}${
      ["Han", "Hiragana", "Katakana", "Hangul", "Bopomofo", "Yi", "Tangut", "Nushu"].map((name) => `\\p{sc=${name}}`)
        .join("")
    }\\u2329\\u232a\\u2e80-\\u303e\\u3099-\\u31ef\\u3200-\\u3247\\u3250-\\u33ff\\ufe10-\\ufe19\\ufe30-\\ufe6f\\uff01-\\uff60\\uffe0-\\uffe6`
      + "\\u{16fe0}-\\u{16fff}\\u{18b00}-\\u{18cff}\\u{1aff0}-\\u{1afff}\\u{1f200}-\\u{1f265}]",
    "u"
  ),
  /** Half-width forms, and jamo that only continue a syllable. They belong to the scripts above, but take one column. */
  narrow: /^[\uff61-\uffdc\uffe8-\uffee\u1160-\u11ff\ud7b0-\ud7ff]/u,
  invisible: /^[\p{Mn}\p{Me}\p{Cf}\p{Cc}]+$/u,
  graphemes: new Intl.Segmenter("en", { granularity: "grapheme" })
})

let tools: ReturnType<typeof makeTools> | undefined

/** What a text needs that is not plain. It is made on first use: Node needs eight milliseconds to load the data for it. */
const toolsOnUse = () => tools ??= makeTools()

/** The variation selector that asks for the emoji form of a character. */
const emojiForm = "\ufe0f"

const widthOf = (grapheme: string): number => {
  const { invisible, narrow, wide } = toolsOnUse()
  if (invisible.test(grapheme)) return 0
  return !narrow.test(grapheme) && (wide.test(grapheme) || grapheme.includes(emojiForm)) ? 2 : 1
}

interface Part {
  readonly text: string
  readonly width: number
}

/** The user-perceived characters of a text without colour codes. */
const charactersOf = (text: string): ReadonlyArray<Part> =>
  plain.test(text)
    ? Array.from(text, (character) => ({ text: character, width: 1 }))
    : Array.from(toolsOnUse().graphemes.segment(text), ({ segment }) => ({ text: segment, width: widthOf(segment) }))

/** Splits a text into what is never broken: user-perceived characters and colour codes. */
function* partsOf(text: string): Generator<Part> {
  for (const [index, piece] of text.split(new RegExp(`(${sgr.source})`, "u")).entries()) {
    if (index % 2 === 1) yield { text: piece, width: 0 }
    else yield* charactersOf(piece)
  }
}

/** The columns that a text without line breaks takes. */
export const displayWidth = (text: string): number => {
  if (plain.test(text)) return text.length
  let width = 0
  for (const part of partsOf(text)) width += part.width
  return width
}

/** Adds spaces up to a width. */
export const padToWidth = (text: string, width: number): string =>
  `${text}${" ".repeat(Math.max(0, width - displayWidth(text)))}`

const reset = "\u001b[0m"

/** Breaks a text into rows that fit into a width. Colours end with each row, and continue in the next. */
export const breakToWidth = (text: string, width: number): ReadonlyArray<string> => {
  if (plain.test(text) && text.length <= width) return [text]
  const rows: Array<string> = []
  let row = ""
  let used = 0
  let color = ""
  for (const part of partsOf(text)) {
    if (used + part.width > width && used > 0) {
      rows.push(color === "" ? row : `${row}${reset}`)
      row = color
      used = 0
    }
    // A character that is wider than the whole terminal cannot be shown.
    if (part.width > width) continue
    if (sgr.test(part.text)) color = part.text === reset ? "" : part.text
    row += part.text
    used += part.width
  }
  return [...rows, color === "" ? row : `${row}${reset}`]
}

/** Cuts a text to a width. A text that is cut ends with `…`. */
export const cutToWidth = (text: string, width: number): string => {
  if (displayWidth(text) <= width) return text
  if (width < 1) return ""
  const [row = ""] = breakToWidth(text, width - 1)
  return width === 1 ? "…" : `${row}…`
}
