import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Option } from "effect"
import { MayHave, variable } from "../../src/internal/environment.ts"

describe("environment.variable", () => {
  it.effect("reads a variable by the ConfigProvider, and takes an empty one for one that is not set", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* variable("SET"), Option.some(" a "))
      assert.deepStrictEqual(yield* variable("EMPTY"), Option.none())
      assert.deepStrictEqual(yield* variable("PATH"), Option.none())
      assert.deepStrictEqual(yield* variable(""), Option.none())
    }).pipe(Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["SET", " a "], ["EMPTY", ""]])))))
})

describe("environment.MayHave", () => {
  it.effect("a variable that cannot be set is not looked up, and the others are", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* variable("SET"), Option.some(" a "))
      assert.deepStrictEqual(yield* variable("OTHER"), Option.none())
    }).pipe(
      Effect.provideService(MayHave, (name) => name === "SET"),
      Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["SET", " a "], ["OTHER", "b"]])))
    ))
})
