import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { load } from "virtual:mutants"
import { prove } from "./prove.ts"

describe("a proof that fails", () => {
  it.effect("ends with the first violation, looks for nothing smaller if told so, and is repeated by its path", () =>
    Effect.gen(function*() {
      const name = "a free port as proof of death"
      const mutant = yield* Effect.promise(() => load[name]?.() ?? Promise.reject(new Error(`no mutant ${name}`)))
      let played = 0
      const proof = { runs: 25, seed: 3, shrinks: false, onRun: () => played++ }
      const fault = (yield* prove(mutant, proof)) ?? ""
      assert.isBelow(played, proof.runs)
      const path = String(played - 1)
      assert.include(fault, `seed: ${proof.seed}, path: "${path}"`)
      assert.match(fault, /both hold \/state\/locks\//)

      played = 0
      assert.include((yield* prove(mutant, { ...proof, path })) ?? "", `seed: ${proof.seed}, path: "${path}"`)
      assert.strictEqual(played, 1)
    }))
})
