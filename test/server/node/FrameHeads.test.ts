import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import * as FrameHeads from "../../../src/server/node/FrameHeads.ts"
import { frame } from "../../fixtures/net.ts"

const drawnFrame = fc.record({
  code: fc.integer({ min: 0, max: 15 }),
  isFinal: fc.boolean(),
  payload: fc.oneof(
    fc.uint8Array({ maxLength: 130 }),
    fc.constantFrom(125, 126, 127, 65_535, 65_536, 70_000).map((length) => new Uint8Array(length).fill(0x81))
  )
})

/** Splits the bytes at these positions. */
const chunks = (bytes: Uint8Array, cuts: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length]
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end))
}

const opcodesOf = (parts: ReadonlyArray<Uint8Array>): ReadonlyArray<number> => {
  let position = FrameHeads.start
  return parts.flatMap((part) => {
    const next = FrameHeads.advance(position, part)
    position = next.position
    return next.opcodes
  })
}

describe("FrameHeads", () => {
  it.prop("finds every frame of a stream, in order, however the stream is cut", [
    fc.array(drawnFrame, { maxLength: 12 }),
    fc.array(fc.nat(), { maxLength: 20 })
  ], ([frames, cuts]) => {
    const bytes = Buffer.concat(frames.map(({ code, isFinal, payload }) => frame(code, payload, { isFinal })))
    assert.deepStrictEqual(opcodesOf(chunks(bytes, cuts)), frames.map(({ code }) => code))
  })

  it.prop("finds the same frames byte by byte as at once", [
    fc.array(drawnFrame.filter(({ payload }) => payload.length < 200), { maxLength: 12 })
  ], ([frames]) => {
    const bytes = Buffer.concat(frames.map(({ code, isFinal, payload }) => frame(code, payload, { isFinal })))
    assert.deepStrictEqual(opcodesOf([...bytes].map((byte) => Uint8Array.of(byte))), opcodesOf([bytes]))
  })

  it.prop(
    "is at the beginning of a head after each whole frame",
    [fc.array(drawnFrame, { maxLength: 5 })],
    ([frames]) => {
      const bytes = Buffer.concat(frames.map(({ code, isFinal, payload }) => frame(code, payload, { isFinal })))
      assert.deepStrictEqual(FrameHeads.advance(FrameHeads.start, bytes).position, FrameHeads.start)
    }
  )

  it("reads unmasked frames and 64-bit lengths", () => {
    const huge = Uint8Array.of(0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0)
    const { opcodes, position } = FrameHeads.advance(FrameHeads.start, huge)
    assert.deepStrictEqual(opcodes, [2])
    assert.deepStrictEqual(position, { head: [], skip: 2 ** 40 })
    assert.deepStrictEqual(opcodesOf([Uint8Array.of(0x89, 0, 0x8a, 1, 7, 0x88)]), [9, 10, 8])
  })

  it.prop("takes any bytes, and at most one opcode a byte", [fc.uint8Array({ maxLength: 300 })], ([bytes]) => {
    assert.isAtMost(FrameHeads.advance(FrameHeads.start, bytes).opcodes.length, bytes.length)
  })
})
