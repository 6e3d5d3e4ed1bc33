import { assert, describe, it } from "@effect/vitest"
import { EventEmitter } from "node:events"
import * as StopSignals from "../../src/cli/stopSignals.ts"

/**
 * Makes a stand-in for `process`, to which the test sends signals. `heard` lists the signals that reach a listener for SIGTERM and
 * SIGINT, as Effect's `runMain` installs it.
 */
const made = (platform: string) => {
  const source = new EventEmitter()
  const heard: Array<string> = []
  for (const signal of ["SIGTERM", "SIGINT"]) source.on(signal, (sent: string) => heard.push(sent))
  const timers: Array<readonly [millis: number, call: () => void]> = []
  let time = 0
  let cuts = 0
  const signals = StopSignals.listen({
    source,
    platform,
    cutDrain: () => cuts += 1,
    now: () => time,
    later: (millis, call) => timers.push([millis, call])
  })
  return {
    heard,
    timers,
    signals,
    cuts: () => cuts,
    pass: (millis: number) => time += millis,
    send: (signal: string) => source.emit(signal, signal)
  }
}

describe("signals that ask the program to stop (N76)", () => {
  it.each(["win32", "linux"])("Ctrl+Break, a closed console and Ctrl+C are heard once, on %s", (platform) => {
    for (const signal of ["SIGBREAK", "SIGHUP", "SIGINT", "SIGTERM"]) {
      const { cuts, heard, pass, send, signals } = made(platform)
      send(signal)
      assert.deepStrictEqual([heard, signals.first(), signals.isHungUp()], [[signal], signal, signal === "SIGHUP"])
      send(signal)
      assert.strictEqual(cuts(), 0, "within half a second it is the same request")
      pass(1000)
      send(signal)
      assert.strictEqual(cuts(), 1, "a second one cuts the drain")
    }
  })

  it("a closed console leaves a drain less time than Windows leaves the process; elsewhere nothing is cut", () => {
    const windows = made("win32")
    windows.send("SIGHUP")
    windows.send("SIGHUP")
    assert.deepStrictEqual(windows.timers.map(([millis]) => millis), [StopSignals.closingConsoleMillis])
    assert.isBelow(StopSignals.closingConsoleMillis, 5000)
    assert.strictEqual(windows.cuts(), 0)
    windows.timers[0]?.[1]()
    assert.strictEqual(windows.cuts(), 1)
    for (const [platform, signal] of [["linux", "SIGHUP"], ["win32", "SIGBREAK"], ["win32", "SIGINT"]] as const) {
      const other = made(platform)
      other.send(signal)
      assert.deepStrictEqual(other.timers, [], `${signal} on ${platform}`)
    }
  })
})
