import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck as fc, Option } from "effect"
import { parseParent } from "../../src/host/ProcessTable.ts"
import * as Signals from "../../src/host/Signals.ts"

/** A line of `/proc/<pid>/stat` (proc(5)) with this command, parent and start time. The other fields do not matter. */
const stat = (command: string, parent: number, startTicks: number) =>
  `7 (${command}) S ${parent} 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 ${startTicks} 1000 200\n`

const identity = { pid: 7, startTime: 5000 }

const failure = (code: string) => () => {
  throw Object.assign(new Error(`kill ${code}`), { code })
}

/** Makes a `SignalHandle` whose `kill` records each signal in `sent` instead of sending it. */
const handle = (options: Partial<Signals.SignalHandle> = {}) => {
  const sent: Array<readonly [number, Signals.Signal]> = []
  const made: Signals.SignalHandle = {
    platform: "linux",
    parentPid: 1,
    kill: (pid, signal) => {
      sent.push([pid, signal])
      return true
    },
    readFile: () => stat("node", 1, 5000),
    ...options
  }
  return { sent, make: Signals.make(made) }
}

describe("Signals", () => {
  it.prop(
    "finds the parent after any command",
    [fc.string(), fc.nat()],
    ([command, parent]) => Option.contains(parseParent(stat(command, parent, 1)), parent)
  )

  it.prop(
    "never fails on what is no such line",
    [fc.string()],
    ([text]) => Option.match(parseParent(text), { onNone: () => true, onSome: Number.isSafeInteger })
  )

  it.prop(
    "only who started at the recorded time, to the tick, is the recorded process",
    [fc.string(), fc.nat(), fc.nat(), fc.integer({ min: 0, max: 1000 })],
    ([command, recorded, apart, offset]) =>
      Signals.isRecorded(stat(command, 1, recorded + apart + offset), { pid: 7, startTime: recorded }, offset)
        === apart <= 1
  )

  it("who has no recorded start time is nobody", () => {
    assert.isFalse(Signals.isRecorded(stat("node", 1, 0), { pid: 7 }, 0))
  })

  it.effect("sends to the recorded process", () =>
    Effect.gen(function*() {
      const { make, sent } = handle()
      yield* (yield* make).send(identity, "SIGTERM")
      assert.deepStrictEqual(sent, [[7, "SIGTERM"]])
    }).pipe(Effect.provide(NodeContext.layer)))

  it.effect("sends nothing where the number is another's by now, or nobody's", () =>
    Effect.gen(function*() {
      for (const readFile of [() => stat("node", 1, 5002), () => "", failure("ENOENT"), failure("ESRCH")]) {
        const { make, sent } = handle({ readFile })
        assert.strictEqual((yield* Effect.flip((yield* make).send(identity, "SIGKILL"))).why, "Gone")
        assert.deepStrictEqual(sent, [])
      }
    }).pipe(Effect.provide(NodeContext.layer)))

  it.effect.each([["ESRCH", "Gone"] as const, ["EPERM", "NotPermitted"] as const, ["EINVAL", "Failed"] as const])(
    "%s is %s",
    ([code, why]) =>
      Effect.gen(function*() {
        const signals = yield* handle({ kill: failure(code) }).make
        assert.strictEqual((yield* Effect.flip(signals.send(identity, "SIGTERM"))).why, why)
      }).pipe(Effect.provide(NodeContext.layer))
  )

  it.effect("follows the parents to the first, and no circle for ever", () =>
    Effect.gen(function*() {
      const parents: Record<string, number> = { "10": 20, "20": 30, "30": 20 }
      const readFileString = (path: string) => {
        const pid = /^\/proc\/(\d+)\/stat$/.exec(path)?.[1] ?? ""
        return Effect.succeed(stat("sh", parents[pid] ?? 0, 1))
      }
      const signals = yield* handle({ parentPid: 10 }).make.pipe(
        Effect.provide(FileSystem.layerNoop({ readFileString }))
      )
      assert.deepStrictEqual(yield* signals.ancestors, [10, 20, 30])
    }).pipe(Effect.provide(NodeContext.layer)))
})
