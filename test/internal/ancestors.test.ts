import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import * as NodePath from "node:path"
import { ancestors } from "../../src/internal/ancestors.ts"

describe("the folders above a path", () => {
  it.each([
    ["Q:\\x\\locks", ["Q:\\x", "Q:\\"]],
    ["Q:\\", []],
    ["\\\\nohost\\share\\x\\locks", ["\\\\nohost\\share\\x", "\\\\nohost\\share\\"]],
    ["\\\\?\\Q:\\x", ["\\\\?\\Q:\\"]],
    ["x", ["."]]
  ])("of %s end at the root, on Windows", (path, expected) => {
    assert.deepStrictEqual(ancestors(path, NodePath.win32), expected)
  })

  it.each([["/a/b/c", ["/a/b", "/a", "/"]], ["/", []], ["a", ["."]], [".", []]])(
    "of %s end at the root, elsewhere",
    (path, expected) => {
      assert.deepStrictEqual(ancestors(path, NodePath.posix), expected)
    }
  )

  const parts = fc.array(fc.constantFrom("/", "\\", "C:", "Q:", "..", ".", "x", "?", "nohost", ""), { maxLength: 12 })
  it.prop("are finite and become shorter, whatever the path", [parts], ([parts]) => {
    for (const paths of [NodePath.posix, NodePath.win32]) {
      const path = parts.join("")
      const found = ancestors(path, paths)
      if (found.length > path.length + 1) return false
      const last = found.at(-1)
      if (last !== undefined && paths.dirname(last) !== last) return false
    }
    return true
  })
})
