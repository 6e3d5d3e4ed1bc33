import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber, Queue, Ref, TestClock } from "effect"
import { type Event, Screen, type Size } from "../../src/cli/Screen.ts"
import { OutputFailed } from "../../src/cli/Stdout.ts"
import { intervalOf, type Options, watch } from "../../src/cli/watch.ts"

/** A terminal that keeps what is written to it, and a subject whose state and changes a test decides. */
const makeScene = Effect.gen(function*() {
  const keys = yield* Queue.unbounded<Event>()
  const changes = yield* Queue.sliding<void>(1)
  const state = yield* Ref.make({ verdict: "dead" })
  const written: Array<string> = []
  const screen = {
    isOpen: false,
    closed: 0,
    looks: 0,
    size: { columns: 40, rows: 10 } as Size,
    hasReader: true,
    cost: 0,
    spent: 0
  }
  const service = Screen.of({
    write: (text) =>
      Effect.sync(() => {
        written.push(text)
        return screen.hasReader
      }),
    open: Effect.acquireRelease(
      Effect.sync(() => {
        screen.isOpen = true
        return keys
      }),
      () =>
        Effect.sync(() => {
          screen.isOpen = false
          screen.closed += 1
        })
    ),
    size: Effect.sync(() => screen.size),
    processorMillis: Effect.sync(() => screen.spent)
  })
  const start = (options: Partial<Options>, look: Effect.Effect<void, OutputFailed> = Effect.void) =>
    Effect.fork(
      watch({
        title: "gateway test",
        look: Effect.gen(function*() {
          screen.looks += 1
          screen.spent += screen.cost
          yield* look
          return yield* Ref.get(state)
        }),
        toText: ({ verdict }, nowMillis) => `${verdict} at ${nowMillis}`,
        toJson: (seen) => JSON.stringify({ ...seen, asOf: screen.looks }),
        overflow: "cut",
        changed: () => Queue.take(changes)
      }, { interval: Duration.seconds(2), form: "screen", ...options }).pipe(Effect.provideService(Screen, service))
    )
  return { keys, changes, state, written, screen, start }
})

const drawn = (text: string | undefined) => text?.split("\r\n").at(-1)?.replaceAll(/\p{Cc}\[[?\d]*[a-zA-Z]/gu, "")

describe("--watch on a terminal", () => {
  it.effect("draws at once, after each interval, and soon after a change", () =>
    Effect.gen(function*() {
      const { changes, screen, start, state, written } = yield* makeScene
      yield* start({})
      yield* TestClock.adjust("1999 millis")
      assert.deepStrictEqual(written.map(drawn), ["dead at 0"])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(written.map(drawn), ["dead at 0", "dead at 2000"])
      yield* Ref.set(state, { verdict: "running" })
      yield* Queue.offer(changes, undefined)
      yield* TestClock.adjust("99 millis")
      assert.lengthOf(written, 2)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(drawn(written[2]), "running at 2100")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(drawn(written[3]), "running at 4100")
      assert.strictEqual(screen.looks, 4)
    }))

  it.effect("looks at most ten times a second, however often something changes", () =>
    Effect.gen(function*() {
      const { changes, screen, start } = yield* makeScene
      yield* start({})
      yield* Effect.fork(Effect.forever(Effect.zipRight(Queue.offer(changes, undefined), Effect.sleep("20 millis"))))
      yield* TestClock.adjust("1 seconds")
      assert.isAtMost(screen.looks, 11)
    }))

  it.effect("redraws without a look for another size, looks for a key, and ends with q, restored and with the last report", () =>
    Effect.gen(function*() {
      const { keys, screen, start, written } = yield* makeScene
      const running = yield* start({ interval: Duration.hours(1) })
      yield* TestClock.adjust("1 seconds")
      screen.size = { columns: 6, rows: 10 }
      yield* Queue.offer(keys, "redraw")
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual([screen.looks, drawn(written[1])], [1, "dead …"])
      yield* Queue.offer(keys, "look")
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual([screen.looks, written.length], [2, 3])
      assert.isTrue(screen.isOpen)
      yield* Queue.offer(keys, "quit")
      yield* Fiber.join(running)
      assert.deepStrictEqual([screen.isOpen, screen.closed, written.at(-1)], [false, 1, "dead at 2000\n"])
    }))

  it.effect("ends with q during a look that takes for ever", () =>
    Effect.gen(function*() {
      const { keys, screen, start, written } = yield* makeScene
      const running = yield* start({}, Effect.uninterruptible(Effect.never))
      yield* TestClock.adjust("1 seconds")
      yield* Queue.offer(keys, "quit")
      yield* Fiber.join(running)
      assert.deepStrictEqual([screen.closed, written], [1, []])
    }))

  it.effect("restores the terminal if a look fails, or if the watch is interrupted", () =>
    Effect.gen(function*() {
      const { screen, start } = yield* makeScene
      const failing = yield* start({}, new OutputFailed({ reason: "test" }))
      assert.strictEqual((yield* Effect.flip(Fiber.join(failing))).reason, "test")
      assert.deepStrictEqual([screen.isOpen, screen.closed], [false, 1])
      const running = yield* start({})
      yield* TestClock.adjust("1 seconds")
      yield* Fiber.interrupt(running)
      assert.deepStrictEqual([screen.isOpen, screen.closed], [false, 2])
    }))

  it.effect("by default waits longer after costly looks, once the first ones are over", () =>
    Effect.gen(function*() {
      for (const [cost, seconds] of [[0, 2], [10, 2], [30, 5], [1000, 10]] as const) {
        const { screen, start } = yield* makeScene
        screen.cost = cost
        const running = yield* start({ interval: undefined })
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual(screen.looks, 3)
        yield* TestClock.adjust(Duration.seconds(seconds * 10))
        assert.strictEqual(screen.looks, 13, `${cost} ms`)
        yield* Fiber.interrupt(running)
      }
    }))
})

describe("--watch into a pipe", () => {
  it.effect("prints each change once, with --json on a line each, and ends when the reader has ended", () =>
    Effect.gen(function*() {
      for (const form of ["text", "lines"] as const) {
        const { changes, screen, start, state, written } = yield* makeScene
        const ended = yield* Deferred.make<void>()
        const running = yield* start({ form })
        yield* Effect.fork(Effect.zipRight(Fiber.join(running), Deferred.succeed(ended, undefined)))
        yield* TestClock.adjust("10 seconds")
        assert.lengthOf(written, 1)
        yield* Ref.set(state, { verdict: "running" })
        yield* Queue.offer(changes, undefined)
        yield* TestClock.adjust("10 seconds")
        assert.lengthOf(written, 2)
        if (form === "lines") {
          assert.deepStrictEqual(written.map((line) => JSON.parse(line).verdict), ["dead", "running"])
          for (const line of written) assert.match(line, /^[^\n]+\n$/)
        } else assert.match(written[1] ?? "", /^--- 1970-01-01T00:00:\d\dZ\nrunning at \d+\n$/)
        assert.isFalse(screen.isOpen)
        screen.hasReader = false
        yield* Ref.set(state, { verdict: "dead" })
        yield* TestClock.adjust("2 seconds")
        yield* Deferred.await(ended)
      }
    }))

  it.effect("takes intervals from 100 ms to a day", () =>
    Effect.gen(function*() {
      assert.isUndefined(yield* intervalOf(undefined))
      assert.strictEqual(Duration.toMillis((yield* intervalOf("100ms")) ?? 0), 100)
      for (const typed of ["0", "99ms", "2", "-1s", "2d", ""]) {
        assert.match((yield* Effect.flip(intervalOf(typed))).message, /from --interval.*"100 millis" to "1 day"/)
      }
    }))
})
