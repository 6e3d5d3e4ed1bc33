import { assert, describe, it } from "@effect/vitest"
import { Duration, FastCheck as fc } from "effect"
import { formatDuration, inWholeSeconds } from "../../src/internal/formatDuration.ts"

describe("a duration in a message", () => {
  it.each<readonly [millis: number, text: string, seconds: string]>([
    [0, "0s", "0s"],
    [1, "1ms", "0s"],
    [999, "999ms", "0s"],
    [1999, "1s 999ms", "1s"],
    [90_000, "1m 30s", "1m 30s"]
  ])("of %d ms", (millis, text, seconds) => {
    assert.strictEqual(formatDuration(millis), text)
    assert.strictEqual(inWholeSeconds(millis), seconds)
  })

  it.prop("always has a unit", [fc.nat({ max: 10_000_000_000 })], ([millis]) => {
    for (const text of [formatDuration(millis), inWholeSeconds(Duration.millis(millis))]) {
      assert.match(text, /^\d+(?:d|h|m|s|ms)(?: \d+(?:h|m|s|ms))*$/)
    }
  })
})
