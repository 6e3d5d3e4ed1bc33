import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber, TestClock } from "effect"
import * as Progress from "../../src/cli/Progress.ts"
import { reported, shown } from "../../src/internal/WaitDisplay.ts"

const clear = "\r\u001b[K"

/** A terminal of 40 columns that keeps what is written to it. */
const makeLine = () => {
  const written: Array<string> = []
  return { written, line: { write: (text: string) => void written.push(text), columns: () => 40 } }
}

describe("a long wait on a terminal", () => {
  it.effect("is not shown for a second, then updated once a second, then removed", () =>
    Effect.gen(function*() {
      const { line, written } = makeLine()
      const end = yield* Deferred.make<number>()
      const running = yield* Effect.fork(Progress.onTerminal(
        shown({ text: Effect.succeed("waiting"), limit: Duration.seconds(10) })(Deferred.await(end)),
        line
      ))
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(written, [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(written, ["\rgateway: waiting (1s of 10s)\u001b[K"])
      yield* TestClock.adjust("999 millis")
      assert.lengthOf(written, 1)
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(written.slice(1), ["\rgateway: waiting (2s of 10s)\u001b[K"])
      yield* Deferred.succeed(end, 7)
      assert.strictEqual(yield* Fiber.join(running), 7)
      assert.deepStrictEqual(written.slice(2), [clear])
      yield* TestClock.adjust("1 minute")
      assert.lengthOf(written, 3)
    }))

  it.effect("writes nothing if it ends within a second, fails or is interrupted", () =>
    Effect.gen(function*() {
      const { line, written } = makeLine()
      const wait = shown({ text: Effect.succeed("waiting") })
      yield* Progress.onTerminal(wait(Effect.void), line)
      assert.strictEqual(yield* Effect.flip(Progress.onTerminal(wait(Effect.fail("no")), line)), "no")
      const running = yield* Effect.fork(Progress.onTerminal(wait(Effect.never), line))
      yield* TestClock.adjust("500 millis")
      yield* Fiber.interrupt(running)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(written, [])
    }))

  it.effect("is removed before a log line, and comes back after it", () =>
    Effect.gen(function*() {
      const { line, written } = makeLine()
      const talk = Effect.consoleWith(({ unsafe }) => Effect.sync(() => unsafe.error("a log line")))
      const quiet = yield* Effect.console
      yield* Effect.fork(
        Progress.onTerminal(
          shown({ text: Effect.succeed("waiting") })(
            Effect.zipRight(Effect.delay(talk, "1500 millis"), Effect.never)
          ),
          line
        ).pipe(Effect.withConsole({
          ...quiet,
          unsafe: { ...quiet.unsafe, error: (text) => void written.push(String(text)) }
        }))
      )
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(written, [
        "\rgateway: waiting (1s)\u001b[K",
        clear,
        "a log line",
        "\rgateway: waiting (2s)\u001b[K"
      ])
    }))

  it.effect("shows the inner of two waits, and then the outer one again", () =>
    Effect.gen(function*() {
      const { line, written } = makeLine()
      const inner = shown({ text: Effect.succeed("inner"), isCuttable: true })(Effect.sleep("1500 millis"))
      yield* Effect.fork(Progress.onTerminal(
        shown({ text: Effect.succeed("outer") })(Effect.zipRight(inner, Effect.never)),
        line
      ))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(written, [
        "\rgateway: inner (1s; Ctrl-C again ends …\u001b[K",
        clear,
        "\rgateway: outer (2s)\u001b[K"
      ])
    }))

  it.effect("is not shown before it is described, and stays on one line whatever the text contains", () =>
    Effect.gen(function*() {
      const { line, written } = makeLine()
      const wait = yield* reported
      yield* Effect.fork(Progress.onTerminal(wait.during()(Effect.never), line))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(written, [])
      yield* wait.report("a\nb\u001b[2J日本")
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(written, ["\rgateway: a\\u000ab\\u001b[2J日本 (3s)\u001b[K"])
    }))

  it.effect("is nowhere without a terminal", () =>
    Effect.gen(function*() {
      const running = yield* Effect.fork(shown({ text: Effect.dieMessage("never read") })(Effect.sleep("1 minute")))
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(running)
    }))
})
