/**
 * One process of a soak test of elections: `soakShard <runs> <seed>`. Works as `test/simulation/soakShard.ts` does.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { prove } from "./prove.ts"
import * as Original from "./subject.ts"

const progressEvery = 100

Effect.gen(function*() {
  let done = 0
  const fault = yield* prove(Original, {
    runs: Number(process.argv[2]),
    seed: Number(process.argv[3]),
    onRun: () => {
      done += 1
      if (done % progressEvery === 0) process.stdout.write(`+${progressEvery}\n`)
    },
    // Reports a violation at once, without the search for a smaller scenario.
    shrinks: false
  })
  if (done % progressEvery !== 0) process.stdout.write(`+${done % progressEvery}\n`)
  if (fault === undefined) return
  yield* Console.log(fault)
  return yield* Effect.fail("violated")
}).pipe(NodeRuntime.runMain({ disableErrorReporting: true }))
