import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { parsePsTree } from "../../src/host/ProcessTable.ts"
import { descendants } from "../../src/host/ProcessTree.ts"

/** Processes with distinct pids. The parents are any pids, so they can form a ring. */
const entries = fc.uniqueArray(
  fc.record({ pid: fc.integer({ min: 1, max: 12 }), parent: fc.integer({ min: 0, max: 12 }), startTime: fc.nat() }),
  { selector: ({ pid }) => pid, maxLength: 12 }
)

describe("ProcessTree.descendants", () => {
  it("follows the parents", () => {
    const all = [[1, 0], [2, 1], [3, 2], [4, 1], [5, 9]].map(([pid = 0, parent = 0]) => ({ pid, parent, startTime: 0 }))
    const pids = (roots: ReadonlyArray<number>) => descendants(all, roots).map(({ pid }) => pid)
    assert.deepStrictEqual(pids([2]), [2, 3])
    assert.deepStrictEqual(pids([1]), [1, 2, 4, 3])
    assert.deepStrictEqual(pids([5, 3]), [3, 5])
    assert.deepStrictEqual(pids([9]), [])
  })

  it.prop("has the roots, and a process exactly if it has its parent", [entries, fc.array(fc.nat({ max: 12 }))], (
    [entries, roots]
  ) => {
    const found = new Set(descendants(entries, roots).map(({ pid }) => pid))
    return entries.every(({ parent, pid }) => found.has(pid) === (roots.includes(pid) || found.has(parent)))
  })

  it.prop("has each process once, and after its parent", [entries, fc.array(fc.nat({ max: 12 }))], (
    [entries, roots]
  ) => {
    const found = descendants(entries, roots)
    const at = new Map(found.map(({ pid }, index) => [pid, index]))
    return at.size === found.length
      && found.every(({ parent, pid }, index) => roots.includes(pid) || (at.get(parent) ?? index) < index)
  })
})

describe("ProcessTable.parsePsTree", () => {
  it("reads the processes of macOS, without zombies", () => {
    assert.deepStrictEqual(
      parsePsTree(
        "    1     0 Ss   Thu Jan  1 00:00:05 1970    \n  214     1 S+   Thu Jan  1 00:01:00 1970\n"
          + "  215   214 Z    Thu Jan  1 00:01:00 1970\nps: odd\n"
      ),
      [{ pid: 1, parent: 0, startTime: 5000 }, { pid: 214, parent: 1, startTime: 60_000 }]
    )
  })
})
