/**
 * `npm run test:soak [-- --lease] [--runs N] [--seed S]`: tests the property of `guard.test.ts` with a hundred thousand scenarios, on
 * all cores. With `--lease`, the property of `test/leader/simulation.test.ts`.
 *
 * Prints its progress, and at the end the number of runs, the seeds and the time. If a scenario breaks a rule of `check.ts`,
 * prints the violation with its seed, path and log. The exit status is 0 if there was no violation.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Command from "@effect/platform/Command"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { availableParallelism } from "node:os"
import { parseArgs } from "node:util"
import * as Bundle from "../fixtures/bundle.ts"

class SoakFailed extends Data.TaggedError("SoakFailed")<{ readonly message: string }> {}

const options = Effect.gen(function*() {
  const { values } = yield* Effect.try({
    try: () =>
      parseArgs({
        args: process.argv.slice(2),
        options: {
          lease: { type: "boolean", default: false },
          runs: { type: "string", default: "100000" },
          seed: { type: "string" }
        }
      }),
    catch: (cause) => new SoakFailed({ message: `${cause}; options: --lease, --runs N, --seed S` })
  })
  const { lease, runs, seed = String(yield* Random.nextIntBetween(1, 2 ** 30)) } = values
  if (!/^[1-9]\d{0,8}$/.test(runs)) {
    return yield* new SoakFailed({ message: `--runs ${runs}: not a number from 1 to 999999999` })
  }
  if (!/^\d{1,10}$/.test(seed)) return yield* new SoakFailed({ message: `--seed ${seed}: not a number` })
  return { lease, runs: Number(runs), seed: Number(seed) }
})

/**
 * The number of scenarios that one process plays. Each simulated process that is killed stays in memory as a fiber of the
 * runtime. That is half a megabyte for each scenario, so more scenarios would fill the heap.
 */
const mostRunsOfOne = 500

/**
 * Flags for Node. Simulations create many errors, which need no stack traces. They also create many short-lived objects, for
 * which a larger young generation of the heap is faster.
 */
const nodeFlags = ["--max-semi-space-size=64", "--stack-trace-limit=0"]

const since = (began: bigint) =>
  Effect.map(Clock.currentTimeNanos, (now) => Duration.format(Duration.seconds(Math.round(Number(now - began) / 1e9))))

const soak = Effect.gen(function*() {
  const { lease, runs, seed } = yield* options
  const fs = yield* FileSystem.FileSystem
  const file = yield* Bundle.file(
    new URL(lease ? "../leader/soakShard.ts" : "soakShard.ts", import.meta.url),
    yield* fs.makeTempDirectoryScoped({ prefix: "gateway-lock-soak-" })
  )
  const cores = availableParallelism()
  const runsOfOne = Math.min(runs, mostRunsOfOne)
  const seeds = Array.from({ length: Math.ceil(runs / runsOfOne) }, (_, index) => seed + index)
  const schedules = seeds.length * runsOfOne
  const began = yield* Clock.currentTimeNanos
  yield* Console.log(
    `${schedules} schedules on ${cores} cores, ${runsOfOne} of each seed from ${seed} to ${seed + seeds.length - 1}`
  )
  let done = 0
  const shard = (seed: number) =>
    Effect.gen(function*() {
      const child = yield* Effect.acquireRelease(
        Command.start(
          Command.make(process.execPath, ...nodeFlags, file, String(runsOfOne), String(seed)).pipe(
            Command.stderr("inherit")
          )
        ),
        // If one process finds a violation, the scope closes and the other processes are killed.
        (child) => Effect.ignore(child.kill("SIGKILL"))
      )
      const said = yield* child.stdout.pipe(
        Stream.decodeText(),
        Stream.splitLines,
        Stream.filterEffect((line) =>
          Effect.gen(function*() {
            const progress = /^\+(\d+)$/.exec(line)?.[1]
            if (progress === undefined) return true
            done += Number(progress)
            yield* Console.log(`${done} of ${schedules} after ${yield* since(began)}`)
            return false
          })
        ),
        Stream.runCollect
      )
      if ((yield* child.exitCode) !== 0) {
        return yield* new SoakFailed({ message: `violated, seed ${seed}:\n${Chunk.join(said, "\n")}` })
      }
    })
  yield* Effect.forEach(seeds, shard, { concurrency: cores, discard: true })
  yield* Console.log(
    `no violation in ${schedules} schedules, seeds ${seed} to ${seed + seeds.length - 1}, ${yield* since(began)}`
  )
})

soak.pipe(
  Effect.scoped,
  Effect.tapErrorCause((cause) => Console.error(String(cause))),
  Effect.provide(NodeContext.layer),
  NodeRuntime.runMain({ disableErrorReporting: true, teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) ? 0 : 1) })
)
