import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { parse } from "./options.ts"

describe("the command line of the benchmark", () => {
  const refused: ReadonlyArray<readonly [args: string, reason: string]> = [
    ["--runs 0", "--runs 0: not a number from 1 to 9999"],
    ["--profile started", "--profile started: only \"refused\""],
    ["--nodes 22,latest", "--nodes 22,latest: not major versions such as 22,24"],
    ["--json --markdown", "--json and --markdown: only one of them"],
    ["--scale --nodes 22", "--scale and --nodes: only one of them"],
    ["--scale --only lease", "--only and --scale: only one of them"],
    ["--only everything", "--only everything: in none of the names: refused starts; "],
    ["--fast", "Unknown option '--fast'"]
  ]
  for (const [args, reason] of refused) {
    it.effect(`refuses ${args}`, () =>
      Effect.gen(function*() {
        const { message } = yield* Effect.flip(parse(args.split(" ")))
        assert.include(message, reason)
        assert.notInclude(message, "\n")
      }))
  }

  it.effect("chooses all experiments, those of --only, and with --nodes those that depend on Node", () =>
    Effect.gen(function*() {
      const names = (args: ReadonlyArray<string>) =>
        Effect.map(parse(args), ({ chosen }) => chosen.map(([name]) => name))
      const all = yield* names([])
      assert.deepStrictEqual(yield* names(["--only", "lock and", "--only", "lease"]), ["lock and unlock", "lease"])
      const byNode = yield* names(["--nodes", "22"])
      assert.include(byNode, "refused starts")
      assert.isTrue(byNode.length > 1 && byNode.length < all.length, byNode.join())
    }))
})
