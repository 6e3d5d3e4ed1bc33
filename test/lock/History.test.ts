import { assert, it } from "@effect/vitest"
import { Array, DateTime, Effect, Fiber, Schema, TestClock } from "effect"
import * as History from "../../src/lock/History.ts"

it.effect("a history begins with the start, and says when what happened", () =>
  Effect.gen(function*() {
    const history = yield* History.make(DateTime.unsafeMake("2026-01-01T00:00:00.000Z"))
    yield* TestClock.adjust("1500 millis")
    yield* history.note("reclaimed", "left by pid 4711")
    yield* history.note("listening")
    const { value } = yield* history.changes
    assert.deepStrictEqual(value, [
      { at: DateTime.unsafeMake("2026-01-01T00:00:00.000Z"), kind: "starting" },
      { at: DateTime.unsafeMake("1970-01-01T00:00:01.500Z"), kind: "reclaimed", detail: "left by pid 4711" },
      { at: DateTime.unsafeMake("1970-01-01T00:00:01.500Z"), kind: "listening" }
    ])
    assert.isTrue(value.every(Schema.is(History.StateChange)))
  }))

it.effect("it keeps the last changes only", () =>
  Effect.gen(function*() {
    const history = yield* History.make(DateTime.unsafeMake("2026-01-01T00:00:00.000Z"))
    yield* Effect.forEach(Array.range(1, History.size + 5), (n) => history.note("regained", String(n)))
    const { value } = yield* history.changes
    assert.deepStrictEqual(value.map(({ detail }) => detail), Array.range(6, History.size + 5).map(String))
  }))

it.effect("who has read it is told when there is more, however late it waits", () =>
  Effect.gen(function*() {
    const history = yield* History.make(DateTime.unsafeMake("2026-01-01T00:00:00.000Z"))
    const before = yield* history.changes
    const waiting = yield* Effect.fork(before.outdated)
    yield* Effect.yieldNow()
    assert.isTrue((yield* Fiber.poll(waiting))._tag === "None")
    yield* history.note("listening")
    yield* Fiber.join(waiting)
    yield* before.outdated
    const after = yield* history.changes
    assert.lengthOf(after.value, 2)
    const next = yield* Effect.fork(after.outdated)
    yield* Effect.yieldNow()
    assert.isTrue((yield* Fiber.poll(next))._tag === "None")
    yield* Fiber.interrupt(next)
  }))
