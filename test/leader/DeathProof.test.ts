import { assert, describe, it } from "@effect/vitest"
import { type HolderPlace, provesDeath } from "../../src/leader/DeathProof.ts"

const place: HolderPlace = {
  bootId: "boot-1",
  locks: [{ device: "8", inode: "11" }, { device: "8", inode: "12" }],
  fileSystem: "ext4",
  enforcement: "kernel",
  mode: "run"
}

const others: ReadonlyArray<readonly [what: string, change: Partial<HolderPlace>]> = [
  ["another boot", { bootId: "boot-2" }],
  ["a platform without boot ids", { bootId: undefined }],
  ["one lock file that was made again", { locks: [{ device: "8", inode: "11" }, { device: "8", inode: "13" }] }],
  ["the same inodes on another device", { locks: place.locks.map(({ inode }) => ({ device: "9", inode })) }],
  ["one lock file only", { locks: place.locks.slice(0, 1) }],
  ["no lock file", { locks: [] }],
  ["a file system of the network", { fileSystem: "nfs4" }],
  ["a lock by the record alone", { enforcement: "record" }],
  ["a command, whose children may live", { mode: "exec" }]
]

describe("the death of a former holder", () => {
  it("is proved by both locks on the very same files, in either order", () => {
    assert.isTrue(provesDeath(place, place))
    assert.isTrue(provesDeath({ ...place, locks: place.locks.toReversed() }, place))
  })

  it.each(others)("is not proved by %s", (_, change) => {
    const other = { ...place, ...change }
    assert.isFalse(provesDeath(place, other))
    assert.isFalse(provesDeath(other, place))
  })

  it("is proved for nobody where such locks prove nothing, even if both have the same", () => {
    const useless: ReadonlyArray<Partial<HolderPlace>> = [
      { bootId: undefined },
      { locks: [] },
      { fileSystem: "nfs4" },
      { enforcement: "record" },
      { mode: "exec" }
    ]
    for (const change of useless) {
      const other = { ...place, ...change }
      assert.isFalse(provesDeath(other, other), JSON.stringify(change))
    }
  })
})
