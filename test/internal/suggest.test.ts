import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { commands } from "../../src/cli/CommandLine.ts"
import { suggest } from "../../src/internal/suggest.ts"
import * as arbitraries from "../arbitraries.ts"
import "../arbitraries.ts"

const names = Object.keys(commands)
const name = fc.constantFrom(...names)

describe("suggest", () => {
  it.each([
    ["statsu", "status"],
    ["satus", "status"],
    ["statuss", "status"],
    ["stutas", "status"],
    ["STATUS", "status"],
    ["servise", "service"],
    ["stpo", "stop"],
    ["ru", "run"],
    ["rnu", "run"]
  ])("%s was meant to be %s", (typed, meant) => {
    assert.strictEqual(suggest(typed, names), meant)
  })

  it.each(["", "x", "start", "restart", "launch", "-", "s".repeat(1000)])("%s is like nothing", (typed) => {
    assert.isUndefined(suggest(typed, names))
  })

  it.prop("one letter left out or doubled is forgiven in a word of four letters or more", [
    name.filter((name) => name.length >= 4),
    fc.nat(),
    fc.boolean()
  ], ([name, position, isDoubled]) => {
    const at = position % name.length
    const typed = isDoubled ? name.slice(0, at + 1) + name.slice(at) : name.slice(0, at) + name.slice(at + 1)
    assert.strictEqual(suggest(typed, names), name)
  })

  it.prop(
    "whatever is typed, a word that is known comes back or none",
    [fc.string({ unit: arbitraries.character })],
    ([typed]) => {
      const found = suggest(typed, names)
      return found === undefined || names.includes(found)
    }
  )
})
