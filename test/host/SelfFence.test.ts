import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck as fc } from "effect"
import * as ChildProcess from "node:child_process"
import { elapsedBetween, type Readings } from "../../src/host/SelfFence.ts"
import * as Gateways from "../e2e/support/gateways.ts"
import "../arbitraries.ts"
import * as Bundle from "../fixtures/bundle.ts"
import { works } from "../fixtures/processes.ts"
import { notLinux, notPosix, unless } from "../fixtures/skips.ts"

const second = 1_000_000_000n
const readings = (monotonic: bigint, uptime?: number): Readings => ({ monotonic, uptime })

describe("elapsed time", () => {
  it("is the monotonic clock's while the machine runs, whatever the rounding of the time since boot", () => {
    assert.strictEqual(elapsedBetween(readings(0n, 100.019), readings(second, 101.01)), second)
    assert.strictEqual(elapsedBetween(readings(0n, 100.001), readings(second, 101.019)), second)
    assert.strictEqual(elapsedBetween(readings(0n, 100), readings(second / 2n, 101)), second / 2n)
  })

  it("counts the time of a suspended machine, but no time that is only due to rounding", () => {
    assert.strictEqual(elapsedBetween(readings(0n, 100.25), readings(second, 161.5)), 61_230_000_000n)
    assert.strictEqual(elapsedBetween(readings(0n, 100), readings(second, 161.25)), 60_250_000_000n)
  })

  it("is the monotonic clock's alone where the time since boot follows the wall clock", () => {
    assert.strictEqual(elapsedBetween(readings(5n), readings(9n)), 4n)
  })

  it.prop("never exceeds the larger clock, and is never below the monotonic one", [
    fc.bigInt({ min: 0n, max: 10n ** 15n }),
    fc.double({ min: 0.05, max: 1e6, noNaN: true }),
    fc.double({ min: 0, max: 1e6, noNaN: true })
  ], ([monotonic, boot, suspended]) => {
    const round = (value: number) => Math.floor(value * 100) / 100
    const truth = Number(monotonic) / 1e9 + suspended
    const elapsed = Number(
      elapsedBetween(readings(0n, round(boot)), readings(monotonic, round(boot + truth)))
    ) / 1e9
    assert.isAtLeast(elapsed, Number(monotonic) / 1e9)
    assert.isAtMost(elapsed, truth + 1e-6)
    // Late by the rounding at most: two hundredths of a second, or one second where only whole seconds are known.
    assert.isAtLeast(elapsed, truth - 1.01)
  })
})

/** How a scene ended, what it printed, and after which time since it was armed. */
const play = (scene: string, millis: number, wrapper: ReadonlyArray<string> = []) =>
  Effect.gen(function*() {
    const path = yield* Bundle.file(new URL("../fixtures/fenced.ts", import.meta.url), yield* Gateways.temporaryFolder)
    return yield* Effect.acquireRelease(
      Effect.sync(() => {
        const [command = process.execPath, ...args] = [...wrapper, process.execPath, path, scene, String(millis)]
        return ChildProcess.spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] })
      }),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
  })

const ended = (child: ChildProcess.ChildProcess) =>
  Effect.async<{ readonly how: string; readonly after: number; readonly out: string }>((resume) => {
    let out = ""
    let armedAt = 0
    child.stdout?.on("data", (chunk: Buffer) => {
      if (out === "") armedAt = performance.now()
      out += chunk.toString()
    })
    child.on(
      "close",
      (code, signal) => resume(Effect.succeed({ how: signal ?? String(code), after: performance.now() - armedAt, out }))
    )
  })

const armed = (child: ChildProcess.ChildProcess) =>
  Effect.async<void>((resume) => {
    child.stdout?.once("data", () => resume(Effect.void))
  })

const unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]

describe("a process that leads", () => {
  unless(notPosix).scopedLive(
    "is killed at its moment although its event loop is blocked for 20 seconds",
    () =>
      Effect.gen(function*() {
        const { after, how, out } = yield* Effect.flatMap(play("blocked", 800), ended)
        assert.deepStrictEqual([how, out], ["SIGKILL", "armed\n"])
        assert.isAbove(after, 600)
        assert.isBelow(after, 10_000)
      })
  )

  unless(notPosix).scopedLive(
    "is not killed once its work has ended, nor while the moment moves ahead",
    () =>
      Effect.gen(function*() {
        for (const scene of ["disarmed", "moved"]) {
          const { how, out } = yield* Effect.flatMap(play(scene, 2000), ended)
          assert.deepStrictEqual([how, out], ["0", "armed\nsurvived\n"], scene)
        }
      })
  )

  unless(notPosix).scopedLive(
    "is killed as soon as it continues after SIGSTOP, before its timers run",
    () =>
      Effect.gen(function*() {
        const child = yield* play("waiting", 1500)
        const end = yield* Effect.fork(ended(child))
        yield* armed(child)
        child.kill("SIGSTOP")
        yield* Effect.sleep("2 seconds")
        const continued = performance.now()
        child.kill("SIGCONT")
        const { how } = yield* end
        assert.strictEqual(how, "SIGKILL")
        assert.isBelow(performance.now() - continued, 5000)
      })
  )

  unless(notLinux ?? (works("unshare", [...unshare.slice(1), "true"]) ? undefined : "no PID namespaces")).scopedLive(
    "ends also as the first process of a container, which SIGKILL from within does not end",
    () =>
      Effect.gen(function*() {
        const { after, out } = yield* Effect.flatMap(play("blocked", 800, unshare), ended)
        assert.strictEqual(out, "armed\n")
        assert.isBelow(after, 10_000)
      })
  )
})
