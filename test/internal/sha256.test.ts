import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { createHash } from "node:crypto"
import { sha256 } from "../../src/internal/sha256.ts"

const byNode = (text: string) => createHash("sha256").update(text).digest("hex")

describe("sha256", () => {
  it.prop("is what Node computes", [fc.string({ unit: "binary", maxLength: 300 })], ([text]) => {
    assert.strictEqual(sha256(text), byNode(text))
  })

  it("is what Node computes at every length around the blocks, and for half a surrogate pair", () => {
    for (let length = 0; length <= 260; length++) {
      assert.strictEqual(sha256("x".repeat(length)), byNode("x".repeat(length)), `${length}`)
    }
    for (const text of ["\ud800", "a\udc00b", "/home/ü/\u{1f512}/gateway.json", "y".repeat(100_000)]) {
      assert.strictEqual(sha256(text), byNode(text))
    }
  })
})
