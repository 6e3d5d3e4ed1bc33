/**
 * Sentences for users have at most 35 words: in docstrings of the public modules, in help, in the manual page, in errors and in
 * log lines. A longer sentence has to be read twice.
 */
import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import ts from "typescript-api"
import { mostWords, tooLong } from "./sentences.ts"

const root = fileURLToPath(new URL("../..", import.meta.url)).replaceAll("\\", "/").replace(/\/$/, "")
const read = (path: string) => readFileSync(`${root}/${path}`, "utf8")
const below = (folder: string, extension: string): ReadonlyArray<string> =>
  readdirSync(`${root}/${folder}`, { recursive: true, encoding: "utf8" })
    .map((path) => `${folder}/${path.replaceAll("\\", "/")}`)
    .filter((path) => path.endsWith(extension))

/** Returns the text of a docstring, without the comment's stars, its tags and its examples. */
const proseOf = (comment: string): string =>
  comment
    .replace(/^\/\*\*/, "")
    .replace(/\*\/$/, "")
    .replaceAll(/^[ \t]*\* ?/gm, "")
    .replaceAll(/^@example\n.*?(?=^@|(?![\s\S]))/gms, "")
    .replaceAll(/^@.*$/gm, "")
    // Removes indented lines, which are diagrams or code.
    .replaceAll(/^ {4,}.*$/gm, "")

const docstringsOf = (source: string): ReadonlyArray<string> => source.match(/\/\*\*.*?\*\//gs) ?? []

/** The content of a string in code, with `value` in place of each inserted value. `undefined` if the expression is not a string. */
const textOf = (node: ts.Node): string | undefined => {
  if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) return node.text
  if (ts.isTemplateExpression(node)) {
    return [node.head.text, ...node.templateSpans.map(({ literal }) => literal.text)].join("value")
  }
  if (!ts.isBinaryExpression(node) || node.operatorToken.kind !== ts.SyntaxKind.PlusToken) return undefined
  const [left, right] = [textOf(node.left), textOf(node.right)]
  return left === undefined && right === undefined ? undefined : `${left ?? "value"}${right ?? "value"}`
}

/** All strings in the code of a file. */
const textsOf = (path: string): ReadonlyArray<string> => {
  const texts: Array<string> = []
  const visit = (node: ts.Node): void => {
    const text = textOf(node)
    if (text !== undefined) texts.push(text)
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(path, read(path), ts.ScriptTarget.ES2022, true))
  return texts
}

/** Whether the texts of a file are prose. The status page's styles and scripts and statements of SQL are not. */
const isProse = (path: string) => !path.startsWith("src/page/") && !path.endsWith("Sql.ts")

describe("no sentence has more than 35 words", () => {
  it("in the docstrings of public modules", () => {
    const found = below("dist/esm", ".d.ts").flatMap((path) =>
      docstringsOf(read(path)).flatMap((comment) => tooLong(proseOf(comment)).map((sentence) => `${path}: ${sentence}`))
    )
    assert.deepStrictEqual(found, [])
  })

  it("in help, the manual page, errors and log lines", () => {
    const found = below("src", ".ts").filter(isProse).flatMap((path) =>
      textsOf(path).flatMap((text) => tooLong(text).map((sentence) => `${path}: ${sentence}`))
    )
    assert.deepStrictEqual(found, [])
  })

  it("and a sentence that is longer is found: in a list, before another one, and over several lines", () => {
    const long = Array.from({ length: mostWords + 1 }, () => "word").join(" ")
    const short = Array.from({ length: mostWords }, () => "word").join(" ")
    for (
      const text of [long, `Short. ${long}. Short.`, `- ${long}\n- short`, long.replaceAll("word word", "word\nword")]
    ) {
      assert.lengthOf(tooLong(text), 1)
    }
    for (
      const text of [
        short,
        `${short}. ${short[0]?.toUpperCase()}${short.slice(1)}.`,
        `- ${short}\n- ${short}`,
        `${short} ---`
      ]
    ) {
      assert.deepStrictEqual(tooLong(text), [])
    }
    assert.deepStrictEqual(
      docstringsOf(`/** ${long} */\n/**\n * ${short}\n * @example\n * ${long}\n */`).map(proseOf).map(tooLong).map((
        { length }
      ) => length),
      [1, 0]
    )
  })
})
