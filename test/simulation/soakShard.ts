/**
 * One core's part of a soak: `soakShard <runs> <seed>`. A line for every so many runs; a violation on stdout, and exit
 * status 1.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { prove } from "./prove.ts"
import * as Original from "./subject.ts"

const progressEvery = 500

Effect.gen(function*() {
  let done = 0
  const fault = yield* prove(Original, {
    runs: Number(process.argv[2]),
    seed: Number(process.argv[3]),
    onRun: () => {
      done += 1
      if (done % progressEvery === 0) process.stdout.write(`+${progressEvery}\n`)
    },
    // A violation is to be seen at once. `guard.test.ts` makes it smaller, from the seed and path that are printed with it.
    shrinks: false
  })
  if (done % progressEvery !== 0) process.stdout.write(`+${done % progressEvery}\n`)
  if (fault === undefined) return
  yield* Console.log(fault)
  return yield* Effect.fail("violated")
}).pipe(NodeRuntime.runMain({ disableErrorReporting: true }))
