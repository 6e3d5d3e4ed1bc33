import { assert, describe, it } from "@effect/vitest"
import { Cause, Data, Duration, Either, Exit, Option } from "effect"

class Failed extends Data.TaggedError("Failed")<{ readonly at: number }> {
  override get message() {
    return "failed"
  }
}

const different: ReadonlyArray<readonly [name: string, one: unknown, other: unknown]> = [
  ["Some and None", Option.some("a"), Option.none()],
  ["two Somes", Option.some("a"), Option.some("b")],
  ["None and undefined", Option.none(), undefined],
  ["Some and an object with the same property", Option.some("a"), { value: "a" }],
  ["Options in a Some", Option.some(Option.some(1)), Option.some(Option.none())],
  ["Options in an object", { at: Option.some(1), is: true }, { at: Option.none(), is: true }],
  ["Options in an array", [Option.none()], [Option.some(1)]],
  ["Options in a Map", new Map([["a", Option.none()]]), new Map([["a", Option.some(1)]])],
  ["Left and Right", Either.left("a"), Either.right("a")],
  ["Options in a Right", Either.right(Option.none()), Either.right(Option.some(1))],
  ["Success and Failure", Exit.succeed("a"), Exit.fail("a")],
  ["Options in a Success", Exit.succeed(Option.none()), Exit.succeed(Option.some(1))],
  ["two causes", Cause.fail("a"), Cause.die("a")],
  ["two durations", Duration.seconds(1), Duration.seconds(2)],
  ["a duration and infinity", Duration.seconds(1), Duration.infinity],
  ["tagged errors with other fields", new Failed({ at: 1 }), new Failed({ at: 2 })],
  ["such errors in a Left", Either.left(new Failed({ at: 1 })), Either.left(new Failed({ at: 2 }))],
  ["errors with other messages", new Error("a"), new Error("b")]
]

const equal: typeof different = [
  ["Some", Option.some({ a: [1] }), Option.some({ a: [1] })],
  ["None", { at: Option.none() }, { at: Option.none() }],
  ["Left", Either.left(Option.some("a")), Either.left(Option.some("a"))],
  ["Success", Exit.succeed(Option.none()), Exit.succeed(Option.none())],
  ["a cause", Cause.fail(new Failed({ at: 1 })), Cause.fail(new Failed({ at: 1 }))],
  ["a tagged error", new Failed({ at: 1 }), new Failed({ at: 1 })],
  ["an error", new TypeError("a", { cause: 1 }), new TypeError("a")]
]

describe("assert.deepStrictEqual", () => {
  for (const [name, one, other] of different) {
    it(`tells apart ${name}`, () => {
      assert.throws(() => assert.deepStrictEqual(one, other), /to deeply equal/)
      assert.throws(() => assert.deepStrictEqual(other, one), /to deeply equal/)
      assert.notDeepEqual(one, other)
    })
  }
  for (const [name, one, other] of equal) it(`accepts an equal ${name}`, () => assert.deepStrictEqual(one, other))
})
