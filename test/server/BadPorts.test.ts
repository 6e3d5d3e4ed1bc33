import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck as fc } from "effect"
import * as BadPorts from "../../src/server/BadPorts.ts"

const all = Array.from({ length: 65535 }, (_, index) => index + 1)
const bad = all.filter(BadPorts.isBad)

/**
 * Whether Node's `fetch` refuses a port before it connects. `fetch` and `BadPorts` follow the same list of ports, that of the
 * Fetch standard.
 */
const refusedByFetch = (port: number) =>
  Effect.promise((signal) =>
    fetch(`http://127.0.0.1:${port}/`, { signal }).then(
      (answer) => answer.body?.cancel().then(() => false) ?? false,
      (error: unknown) => error instanceof Error && error.cause instanceof Error && error.cause.message === "bad port"
    )
  )

describe("BadPorts", () => {
  it.live("are those that Node's fetch refuses, and not their neighbours", () =>
    Effect.gen(function*() {
      const neighbours = new Set(bad.flatMap((port) => [port - 1, port + 1]).filter((port) => !BadPorts.isBad(port)))
      neighbours.delete(0)
      const outcomes = yield* Effect.forEach([...bad, ...neighbours], (port) =>
        Effect.map(refusedByFetch(port), (isRefused) => ({ port, isRefused })), { concurrency: 20 })
      assert.deepStrictEqual(
        outcomes.filter(({ isRefused }) =>
          isRefused
        ).map(({ port }) => port).toSorted((a, b) => a - b),
        bad
      )
    }))

  it.prop("have another port nearby that is none", [fc.integer({ min: 1, max: 65535 })], ([port]) => {
    const another = BadPorts.nextAllowed(port)
    assert.isFalse(BadPorts.isBad(another))
    assert.notStrictEqual(another, port)
    assert.isTrue(another >= 1 && another <= 65535 && Math.abs(another - port) < 10)
  })

  it("do not include the default port", () => {
    assert.isFalse(BadPorts.isBad(18789))
    for (const port of [1, 6000, 6666, 6697, 10080]) assert.isTrue(BadPorts.isBad(port))
  })
})
