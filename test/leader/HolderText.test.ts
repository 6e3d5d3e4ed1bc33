import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc, Option } from "effect"
import type { HolderPlace } from "../../src/leader/DeathProof.ts"
import * as HolderText from "../../src/leader/HolderText.ts"
import "../arbitraries.ts"

const place: HolderPlace = {
  bootId: "b-1",
  locks: [{ device: "2049", inode: "18446744073709551615" }, { device: "2049", inode: "12" }],
  fileSystem: "ext4",
  enforcement: "kernel",
  mode: "run"
}
const gateway = { instanceId: "i-1", hostname: "one", pid: 5, url: "ws://127.0.0.1:18789" }

/** What a store gives back. */
const stored = (holder: object): Readonly<Record<string, unknown>> => JSON.parse(JSON.stringify(holder))

describe("the description of a holder", () => {
  it("comes back from a store, with keys of later versions", () => {
    const holder = stored({ ...HolderText.make(gateway, place), later: [1] })
    assert.deepStrictEqual(HolderText.placeOf(holder), Option.some(place))
    assert.deepStrictEqual(HolderText.gatewayOf(holder), gateway)
  })

  it("has no place without the facts of a proof, and says what it can", () => {
    assert.deepStrictEqual(HolderText.placeOf({}), Option.none())
    assert.deepStrictEqual(HolderText.gatewayOf({}), {})
    const withoutBoot = stored(HolderText.make(gateway, { ...place, bootId: undefined }))
    assert.deepStrictEqual(Option.map(HolderText.placeOf(withoutBoot), ({ bootId }) => bootId), Option.some(undefined))
    for (const key of ["locks", "fileSystem", "enforcement", "mode"]) {
      const { [key]: _, ...rest } = stored(HolderText.make(gateway, place))
      assert.deepStrictEqual(HolderText.placeOf(rest), Option.none(), key)
    }
  })

  it.prop("is read whatever another program has written", [fc.dictionary(fc.string(), fc.jsonValue())], ([holder]) => {
    HolderText.placeOf(holder)
    HolderText.gatewayOf(holder)
  })
})
