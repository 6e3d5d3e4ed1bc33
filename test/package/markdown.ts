/** Reads Markdown as GitHub does, as far as the tests of the documents need it: prose, code, headings, links and tables. */
import { posix } from "node:path"

/** A block of code: fenced, or indented by four spaces. */
export interface CodeBlock {
  /** The number of the first line of the code, from 1. */
  readonly line: number
  /** The word after the fence. Empty for a fence without a word. `indented` for an indented block. */
  readonly language: string
  readonly lines: ReadonlyArray<string>
}

/** One document in parts: lines of prose, tables included, with empty lines in place of code, and the blocks of code. */
export interface Document {
  readonly prose: ReadonlyArray<string>
  readonly code: ReadonlyArray<CodeBlock>
}

/** Splits a document into prose and code. */
export const parse = (text: string): Document => {
  const prose: Array<string> = []
  const code: Array<{ line: number; language: string; lines: Array<string> }> = []
  let fence: string | undefined
  let isAfterBlank = true
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const mark = /^(?:```)(.*)$/.exec(line)
    const open = code.at(-1)
    if (mark !== null) {
      if (fence === undefined) code.push({ line: index + 2, language: mark[1]?.trim() ?? "", lines: [] })
      fence = fence === undefined ? line : undefined
      prose.push("")
    } else if (fence !== undefined) {
      open?.lines.push(line)
      prose.push("")
    } else if (line.startsWith("    ") && line.trim() !== "" && isAfterBlank) {
      const continues = open?.language === "indented" && open.line + open.lines.length === index + 1
      if (continues) open.lines.push(line.slice(4))
      else code.push({ line: index + 1, language: "indented", lines: [line.slice(4)] })
      prose.push("")
    } else {
      prose.push(line)
      isAfterBlank = line.trim() === ""
    }
  }
  return { prose, code }
}

/** The text of a line as a reader sees it: links are their text, and code has no backticks. */
const visible = (line: string): string => line.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").replaceAll(/[`*]/g, "")

/** The headings of a document, in order. */
export const headings = ({ prose }: Document): ReadonlyArray<{ readonly level: number; readonly text: string }> =>
  prose.flatMap((line) => {
    const [, marks, text] = /^(#{1,6}) +(.*?) *#*$/.exec(line) ?? []
    return marks === undefined || text === undefined ? [] : [{ level: marks.length, text: visible(text) }]
  })

/**
 * The anchors of a document, by GitHub's rules: lower case, without punctuation, with a hyphen for each space. A heading that occurs
 * again gets a number.
 */
export const anchors = (document: Document): ReadonlySet<string> => {
  const seen = new Map<string, number>()
  return new Set(
    headings(document).map(({ text }) => {
      const anchor = text.toLowerCase().replaceAll(/[^\p{L}\p{M}\p{N}\p{Pc}\- ]/gu, "").replaceAll(" ", "-")
      const count = seen.get(anchor) ?? 0
      seen.set(anchor, count + 1)
      return count === 0 ? anchor : `${anchor}-${count}`
    })
  )
}

/** The spans of code within the prose of a document. */
export const spans = ({ prose }: Document): ReadonlyArray<string> =>
  prose.flatMap((line) => [...line.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => code))

/** A link to another place of this repository. */
export interface Link {
  readonly text: string
  /** The path from the root of the repository. */
  readonly path: string
  readonly anchor: string | undefined
  /** Whether the link needs the file beside the document. Otherwise, it leads to the web site of the repository. */
  readonly isRelative: boolean
}

/** The address of a file or a folder on the web site of the repository. */
const website = /^https:\/\/github\.com\/gateway-lock\/gateway-lock\/(?:blob|tree)\/main\//

/** The links of a document to places of this repository. `path` is the document's own path from the root. */
export const links = (document: Document, path: string): ReadonlyArray<Link> =>
  document.prose.map((line) => line.replaceAll(/`[^`]*`/g, "code")).flatMap((line) =>
    [...line.matchAll(/\[[^\]]*\]\(([^)\s]+)\)/g)].flatMap(([text, target = ""]) => {
      const isRelative = !website.test(target)
      if (isRelative && /^[a-z]+:/.test(target)) return []
      const [file = "", anchor] = target.replace(website, "").split("#")
      const from = isRelative ? posix.dirname(path) : ""
      return [{ text, path: file === "" ? path : posix.join(from, file), anchor, isRelative }]
    })
  )

/** The cells of each row of the tables below a heading, up to the next heading. Rows of dashes and the header rows are left out. */
export const rowsBelow = ({ prose }: Document, heading: string): ReadonlyArray<ReadonlyArray<string>> => {
  const start = prose.findIndex((line) => /^#{1,6} /.test(line) && visible(line).replace(/^#+ +/, "") === heading)
  if (start < 0) return []
  const length = prose.slice(start + 1).findIndex((line) => /^#{1,6} /.test(line))
  const section = prose.slice(start + 1, length < 0 ? undefined : start + 1 + length)
  return section
    .filter((line, index) => line.startsWith("|") && !isRule(line) && !isRule(section[index + 1] ?? ""))
    .map((line) => line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim()))
}

const isRule = (line: string): boolean => /^\|(?:[-: ]+\|)+$/.test(line)

/** The prose of a document without its tables, as text. */
export const sentences = ({ prose }: Document): string =>
  prose.map((line) => line.startsWith("|") ? "" : /^#{1,6} /.test(line) ? `\n${line}\n` : visibleSentence(line)).join(
    "\n"
  )

/** Code stays as it is, so that a span of code is one word. */
const visibleSentence = (line: string): string => line.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").replaceAll("**", "")
