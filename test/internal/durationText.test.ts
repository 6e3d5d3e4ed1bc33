import { assert, describe, it } from "@effect/vitest"
import { Duration, FastCheck as fc, Option } from "effect"
import * as DurationText from "../../src/internal/durationText.ts"
import "../arbitraries.ts"

const millisOf = (text: string) => Option.getOrUndefined(Option.map(DurationText.parse(text), Duration.toMillis))

const units = ["nanos", "micros", "millis", "seconds", "minutes", "hours", "days", "weeks"] as const

describe("durationText", () => {
  it.each<readonly [text: string, millis: number]>([
    ["500 millis", 500],
    ["1 second", 1000],
    ["1.5 minutes", 90_000],
    [" 5 seconds ", 5000],
    ["500ms", 500],
    ["5s", 5000],
    ["2m", 120_000],
    ["1h", 3_600_000],
    ["1d", 86_400_000],
    ["0s", 0],
    ["0.5s", 500],
    ["1m30s", 90_000],
    ["1h0m0s", 3_600_000],
    ["2h 30min", 9_000_000],
    ["5sec", 5000],
    ["1min", 60_000],
    ["1hr", 3_600_000],
    ["300ms20s 5day", 432_020_300],
    ["55s500ms", 55_500],
    ["1500us", 1.5],
    ["1500\u00b5s", 1.5],
    ["1500\u03bcs", 1.5],
    ["1500 nsec", 0.0015],
    ["1.1s", 1100],
    ["1 m 30 s", 90_000]
  ])("%j is %f ms", (text, millis) => {
    assert.strictEqual(millisOf(text), millis)
  })

  it.each([
    "",
    " ",
    "5",
    "0",
    "s",
    "-5s",
    "+5s",
    "5S",
    "1M",
    "1y",
    "1month",
    "5 s s",
    "5s5",
    "5.s",
    "1,5s",
    "1e3s",
    "infinity",
    "1m30",
    "5seconds5",
    "5sx",
    "5 secondss",
    "PT5S",
    "00:05",
    "1m\u00a030s!",
    "9".repeat(16) + "s"
  ])("%j is none", (text) => {
    assert.isUndefined(millisOf(text))
  })

  it.prop("what Effect writes in words is read as Effect reads it", [
    fc.integer({ min: 0, max: 1_000_000 }),
    fc.constantFrom(...units)
  ], ([count, unit]) => {
    const expected = Duration.decode(`${count} ${unit}`)
    const read = Option.getOrThrow(DurationText.parse(`${count} ${unit}`))
    assert.isTrue(Duration.equals(read, expected))
  })

  it.prop("what it writes short is read as the same", [fc.integer({ min: 0, max: 86_400_000 })], ([millis]) => {
    const text = DurationText.short(Duration.millis(millis))
    assert.strictEqual(millisOf(text), millis, text)
    // systemd reads this form as well. So does Go, except for the unit `d`.
    assert.match(text, /^(?:\d+(?:d|h|m|s|ms))+$/)
  })

  it.prop("the pattern of the schema is the same rule, and no text takes long", [
    fc.oneof(
      fc.string({ unit: fc.constantFrom("1", ".", " ", "m", "s", "h", "i", "n"), maxLength: 40 }),
      fc.string()
    )
  ], ([text]) => {
    assert.strictEqual(new RegExp(DurationText.pattern, "u").test(text), Option.isSome(DurationText.parse(text)))
  })

  it("reads a long text at once", () => {
    const began = performance.now()
    assert.isUndefined(millisOf(`${"1m".repeat(50_000)}!`))
    assert.isUndefined(millisOf(`${" ".repeat(50_000)}!`))
    assert.isBelow(performance.now() - began, 5000)
  })
})
