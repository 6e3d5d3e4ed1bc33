/**
 * These tests compile the examples in the docstrings, because users paste the examples into programs. An example imports the
 * package as a user does: by the `exports` of package.json, with the types in `dist`.
 */
import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { posix } from "node:path"
import { fileURLToPath } from "node:url"
import { check, type Example } from "./compileExamples.ts"

/** The compiler's paths have forward slashes on every platform, so this path must have them too. */
const root = fileURLToPath(new URL("../..", import.meta.url)).replaceAll("\\", "/").replace(/\/$/, "")
const read = (path: string) => readFileSync(`${root}/${path}`, "utf8")

/** Finds the examples in a source file. An example goes from the line after `@example` to the next tag or the comment's end. */
const examplesIn = (source: string, text: string): ReadonlyArray<Example> => {
  const examples: Array<Example> = []
  let code: Array<string> | undefined
  let began = 0
  const end = () => {
    if (code !== undefined) examples.push({ source, line: began, code: code.join("\n") })
    code = undefined
  }
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*\* @|\*\/\s*$/.test(line)) end()
    if (/^\s*\* @example\s*$/.test(line)) {
      code = []
      began = index + 2
    } else code?.push(line.replace(/^\s*\* ?/, ""))
  }
  return examples
}

const sources = readdirSync(`${root}/src`, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts"))
  .map((path) => `src/${path.replaceAll("\\", "/")}`)
  .toSorted()

const examples = sources.flatMap((source) => examplesIn(source, read(source)))

/** The modules that an entry exports, and the modules that these modules export in turn. */
const modulesOf = (entry: string): ReadonlyArray<string> =>
  [...read(entry).matchAll(/^export \* (?:as \w+ )?from "(.*\.ts)"$/gm)].flatMap(([, specifier = ""]) => {
    const path = posix.join(posix.dirname(entry), specifier)
    return [path, ...modulesOf(path)]
  })

describe("the examples in docstrings", () => {
  it("compile against the package, as an app does", () => {
    assert.isAbove(examples.length, 0)
    assert.deepStrictEqual(check(examples), [])
  }, 60_000)

  it.each([...modulesOf("src/index.ts"), ...modulesOf("src/testing/index.ts")])("there is one in %s", (path) => {
    assert.isTrue(examples.some(({ source }) => source === path))
  })

  it("are told of by file and line where they do not compile", () => {
    const text = [
      "/**",
      " * Whether it is so.",
      " *",
      " * @example",
      " * import { Server } from \"gateway-lock\"",
      " *",
      " * Server.Address.toUrl(18789)",
      " *",
      " * @since 0.1.0",
      " */",
      "export const isSo = true"
    ].join("\n")
    const problems = check(examplesIn("src/wrong.ts", text))
    assert.lengthOf(problems, 1)
    assert.match(problems[0] ?? "", /^src\/wrong\.ts:7: TS2345: Argument of type 'number'/)
  }, 60_000)
})
