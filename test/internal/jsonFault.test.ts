import { assert, describe, it } from "@effect/vitest"
import { Array, FastCheck as fc } from "effect"
import { jsonFault } from "../../src/internal/jsonFault.ts"
import * as arbitraries from "../arbitraries.ts"
import "../arbitraries.ts"

const parses = (text: string): boolean => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** JSON in which a piece was removed, inserted or replaced. */
const nearlyJson = fc.tuple(fc.json(), fc.nat(), fc.nat(4), fc.string({ unit: arbitraries.character, maxLength: 2 }))
  .map((
    [json, at, length, piece]
  ) => {
    const from = at % (json.length + 1)
    return json.slice(0, from) + piece + json.slice(from + length)
  })

describe("jsonFault", () => {
  it.prop("is where JSON.parse throws, and nowhere else", [fc.oneof(nearlyJson, fc.string(), fc.json())], ([text]) => {
    assert.strictEqual(jsonFault(text) === undefined, parses(text), JSON.stringify(text))
  }, { fastCheck: { numRuns: 2000 } })

  it.prop("what is before the place can begin a JSON text", [nearlyJson], ([text]) => {
    const fault = jsonFault(text)
    if (fault === undefined || /[\r\n]/.test(text)) return
    const before = [...text].slice(0, fault.column - 1).join("")
    // `before` must be the beginning of a JSON text. So it is a whole JSON text itself, or its fault is that it ends too early.
    const next = jsonFault(before)
    assert.isTrue(next === undefined || next.column === [...before].length + 1, JSON.stringify([text, before]))
  }, { fastCheck: { numRuns: 1000 } })

  it.each<readonly [text: string, line: number, column: number, expected: string]>([
    ["", 1, 1, "a value"],
    ["  \n ", 2, 2, "a value"],
    ["{\"a\":1,}", 1, 8, "a name in double quotes"],
    ["{\r\n\"a\":1,\r\n}", 3, 1, "a name in double quotes"],
    ["{a:1}", 1, 2, "a name in double quotes, or \"}\""],
    ["{'a':1}", 1, 2, "a name in double quotes, or \"}\""],
    ["{\"a\" 1}", 1, 6, "\":\""],
    ["{\"a\":}", 1, 6, "a value"],
    ["{\"a\":1 \"b\":2}", 1, 8, "\",\" or \"}\""],
    ["[1 2]", 1, 4, "\",\" or \"]\""],
    ["[01]", 1, 3, "\",\" or \"]\""],
    ["[.5]", 1, 2, "a value, or \"]\""],
    ["[1,]", 1, 4, "a value"],
    ["{}x", 1, 3, "the end of the file"],
    ["[\"\\x\"]", 1, 3, "an escape sequence of JSON"],
    ["[\"a\nb\"]", 1, 4, "the end of the string (\")"],
    ["[\"\u{1f600}\", nul]", 1, 7, "a value"],
    ["{\"a\": 1 // one\n}", 1, 9, "\",\" or \"}\""],
    ["// one\n{}", 1, 1, "a value"]
  ])("of %j is line %i, column %i: %s", (text, line, column, expected) => {
    assert.deepStrictEqual(jsonFault(text), { line, column, expected })
  })

  it("is found however deep a text nests", () => {
    const deep = Array.makeBy(100_000, () => "[").join("")
    assert.deepStrictEqual(jsonFault(deep), { line: 1, column: 100_001, expected: "a value, or \"]\"" })
  })
})
