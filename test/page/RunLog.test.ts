/**
 * The runs of a gateway, in a file beside its lock file: on a real disk, under the `TestClock`.
 */
import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, FastCheck as fc, Option, Schema, TestClock } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { optional } from "../../src/internal/optional.ts"
import { decode, encode, type RunEvent } from "../../src/page/RunEvent.ts"
import * as RunLog from "../../src/page/RunLog.ts"
import * as arbitraries from "../arbitraries.ts"

const at = (seconds: number) => DateTime.unsafeMake(seconds * 1000)

const inFolder = <A, E>(test: (lockPath: string) => Effect.Effect<A, E, FileSystem.FileSystem>) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* fs.makeTempDirectoryScoped({ prefix: "gateway-lock-runs-" })
    return yield* test(Path.join(folder, "gateway.01234567.lock"))
  }).pipe(Effect.scoped, Effect.provide(NodeContext.layer))

/** Notes a run that listened, and sets the time of its file as it would be without a `TestClock`. */
const start = (lockPath: string, instanceId: string, tookOver = false) =>
  Effect.gen(function*() {
    const log = yield* RunLog.make(lockPath, instanceId)
    yield* log.started({ pid: 7, ...(tookOver ? { tookOver: true } : {}) })
    yield* log.touch
    return log
  })

describe("the runs of a gateway", () => {
  it.effect("survive a restart: a stop with its reason, a crash with when it was seen last, and the present run", () =>
    inFolder((lockPath) =>
      Effect.gen(function*() {
        const first = yield* start(lockPath, "first")
        yield* TestClock.adjust("1 hour")
        yield* first.note({ kind: "stopped", reason: "stopped" })
        yield* TestClock.adjust("1 minute")
        const second = yield* start(lockPath, "second")
        yield* TestClock.adjust("10 minutes")
        yield* second.touch
        yield* TestClock.adjust("50 seconds")
        const third = yield* start(lockPath, "third", true)
        yield* third.note({ kind: "leading" })
        assert.deepStrictEqual(yield* third.runs, [
          { startedAt: at(0), endedAt: at(3600), ending: "stopped", reason: "stopped", pid: 7 },
          { startedAt: at(3660), endedAt: at(4260), ending: "crashed", pid: 7 },
          { startedAt: at(4310), ending: "running", tookOver: true, ledAt: at(4310), pid: 7 }
        ])
        assert.strictEqual(Fs.statSync(RunLog.pathBeside(lockPath)).mode & 0o777, 0o600)
      })
    ))

  it.effect("are read around lines that are torn, foreign or from a later version", () =>
    inFolder((lockPath) =>
      Effect.gen(function*() {
        const first = yield* start(lockPath, "first")
        yield* first.note({ kind: "stopped" })
        const whole = Fs.readFileSync(RunLog.pathBeside(lockPath), "utf8")
        const foreign = [
          "not JSON",
          "null",
          "[]",
          `{"at":"never","kind":"started","instanceId":"x"}`,
          `{"at":"2026-01-01T00:00:00.000Z","kind":"paused","instanceId":"x"}`,
          `{"at":"2026-01-01T00:00:00.000Z","kind":"started","instanceId":"x","pid":"${"x".repeat(5000)}"}`,
          "\0\0\0",
          whole.slice(0, 40)
        ]
        Fs.writeFileSync(RunLog.pathBeside(lockPath), `${whole}${foreign.join("\n")}`)
        const second = yield* start(lockPath, "second")
        assert.deepStrictEqual((yield* second.runs).map(({ ending }) => ending), ["stopped", "running"])
      })
    ))

  it.prop(
    "are read from any text",
    [fc.array(fc.string({ unit: arbitraries.character }))],
    ([lines]) => RunLog.runsOf(RunLog.parse(lines.join("\n")), "self").length === 0
  )

  it.effect("take a bounded file, however many there were", () =>
    inFolder((lockPath) =>
      Effect.gen(function*() {
        for (let run = 0; run < 400; run += 1) {
          const log = yield* start(lockPath, `run-${run}`)
          yield* TestClock.adjust("1 second")
          yield* log.note({ kind: "stopped", reason: "stopped" })
        }
        assert.isBelow(Fs.statSync(RunLog.pathBeside(lockPath)).size, 33 * 1024)
        assert.deepStrictEqual(Fs.readdirSync(Path.dirname(lockPath)), ["gateway.01234567.runs"])
        const last = yield* start(lockPath, "last")
        const runs = yield* last.runs
        assert.lengthOf(runs, 30)
        assert.deepStrictEqual(runs.map(({ ending }) => ending), [...Array(29).fill("stopped"), "running"])
      })
    ))

  it.effect("are known for the present run even if nothing can be written", () =>
    inFolder((lockPath) =>
      Effect.gen(function*() {
        const there: ReadonlyArray<(path: string) => void> = [
          (path) => Fs.mkdirSync(path),
          (path) => Fs.writeFileSync(path, "x".repeat(2 * 1024 * 1024)),
          (path) => Fs.symlinkSync("/nowhere/at/all", path)
        ]
        for (const [index, make] of there.entries()) {
          const path = Path.join(Path.dirname(lockPath), String(index), "gateway.01234567.lock")
          Fs.mkdirSync(Path.dirname(path))
          make(RunLog.pathBeside(path))
          const log = yield* start(path, "only")
          assert.deepStrictEqual((yield* log.runs).map(({ ending }) => ending), ["running"], String(index))
        }
        const log = yield* start("/proc/none/gateway.01234567.lock", "only")
        yield* log.note({ kind: "stopped" })
        assert.deepStrictEqual((yield* log.runs).map(({ ending }) => ending), ["stopped"])
      })
    ))
})

describe("RunEvent", () => {
  const RunEvent = Schema.Struct({
    at: Schema.DateTimeUtc,
    kind: Schema.Literal("started", "leading", "stopped"),
    instanceId: Schema.String,
    pid: optional(Schema.Number),
    tookOver: optional(Schema.Boolean),
    seen: optional(Schema.DateTimeUtc),
    reason: optional(Schema.String)
  })
  const readLine = Schema.decodeOption(Schema.parseJson(RunEvent))

  const utc = fc.date({ noInvalidDate: true }).map((date) => DateTime.unsafeMake(date))
  const number = fc.double({ noNaN: true, noDefaultInfinity: true })
  const required = ["at", "kind", "instanceId"] as const
  const events: fc.Arbitrary<RunEvent> = fc.record({
    at: utc,
    kind: fc.constantFrom<RunEvent["kind"]>("started", "leading", "stopped"),
    instanceId: arbitraries.text,
    pid: fc.integer(),
    tookOver: fc.boolean(),
    seen: utc,
    reason: arbitraries.text
  }, { requiredKeys: [...required] })
  it.prop("is written and read as its schema does", [events], ([event]) => {
    assert.deepStrictEqual(readLine(encode(event)), Option.some(event))
    assert.deepStrictEqual(decode(encode(event)), Option.some(event))
  })

  const time = fc.oneof(
    utc.map(DateTime.formatIso),
    fc.constantFrom("", "never", "2026", "2026-02-30T00:00:00Z", "1"),
    fc.jsonValue()
  )
  const nearEvents = fc.record({
    at: time,
    kind: fc.oneof(fc.constantFrom("started", "leading", "stopped", "paused"), fc.jsonValue()),
    instanceId: fc.oneof(arbitraries.text, fc.jsonValue()),
    pid: fc.oneof(number, fc.jsonValue()),
    tookOver: fc.oneof(fc.boolean(), fc.jsonValue()),
    seen: time,
    reason: fc.oneof(arbitraries.text, fc.jsonValue()),
    ["__proto__"]: fc.jsonValue(),
    more: fc.jsonValue()
  }, { requiredKeys: [...required] })
  it.prop("is read from any JSON as its schema reads it", [fc.oneof(nearEvents, fc.jsonValue())], ([value]) => {
    const line = JSON.stringify(value)
    assert.deepStrictEqual(decode(line), readLine(line))
  })
})

describe("RunLog.runsOf", () => {
  const event = (
    seconds: number,
    kind: RunEvent["kind"],
    instanceId: string,
    rest: Partial<RunEvent> = {}
  ) => ({ at: at(seconds), kind, instanceId, ...rest }) as const

  it("keeps the end of a crashed run between its start and the next one, wherever the clock was set", () => {
    const runs = (seen: number) =>
      RunLog.runsOf([event(100, "started", "a"), event(200, "started", "b", { seen: at(seen) })], "b")
    assert.deepStrictEqual([50, 150, 250].map((seen) => runs(seen)[0]?.endedAt), [at(100), at(150), at(200)])
  })

  it("believes a run that ends after the next one has begun, because it had lost its lock", () => {
    const [first] = RunLog.runsOf([
      event(0, "started", "a"),
      event(5, "started", "b", { seen: at(4) }),
      event(6, "stopped", "a", { reason: "lock lost" })
    ], "b")
    assert.deepStrictEqual(first, { startedAt: at(0), endedAt: at(6), ending: "stopped", reason: "lock lost" })
  })

  it("ignores what happened to runs whose start is not known", () => {
    assert.deepStrictEqual(RunLog.runsOf([event(0, "stopped", "x"), event(1, "leading", "y")], "b"), [])
  })
})
