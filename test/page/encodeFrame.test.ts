import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc, Schema } from "effect"
import * as Arbitrary from "effect/Arbitrary"
import "../arbitraries.ts"
import { encodeFrame } from "../../src/page/encodeFrame.ts"
import { StatusFrame } from "../../src/page/StatusFrame.ts"

const encode = Schema.encodeSync(StatusFrame)

describe("a status frame", () => {
  it("is encoded as its schema says, and begins with its type", () => {
    fc.assert(fc.property(Arbitrary.make(StatusFrame), (frame) => {
      const text = encodeFrame(frame)
      assert.isTrue(text.startsWith("{\"type\":\"status\","))
      assert.deepStrictEqual(JSON.parse(text), JSON.parse(JSON.stringify(encode(frame))))
    }))
  })
})
