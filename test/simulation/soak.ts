/**
 * `npm run test:soak [-- --runs N] [--seed S]`: the proof of `guard.test.ts`, a hundred thousand times, on every core.
 *
 * Prints how far it is, and at the end runs, seeds and time; a violation with its seed, path and trace. Exit status 0 if
 * there was none.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Command from "@effect/platform/Command"
import * as Array from "effect/Array"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { availableParallelism } from "node:os"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { prove } from "./prove.ts"
import * as Original from "./subject.ts"

class Failed extends Data.TaggedError("Failed")<{ readonly message: string }> {}

const progressEvery = 500

const options = Effect.gen(function*() {
  const { values } = yield* Effect.try({
    try: () =>
      parseArgs({
        args: process.argv.slice(2),
        options: { runs: { type: "string", default: "100000" }, seed: { type: "string" }, shard: { type: "boolean" } }
      }),
    catch: (cause) => new Failed({ message: `${cause}; options: --runs N, --seed S` })
  })
  const { runs, seed = String(yield* Random.nextIntBetween(1, 2 ** 30)), shard = false } = values
  if (!/^[1-9]\d{0,8}$/.test(runs)) return yield* new Failed({ message: `--runs ${runs}: not a number from 1` })
  if (!/^\d{1,10}$/.test(seed)) return yield* new Failed({ message: `--seed ${seed}: not a number` })
  return { runs: Number(runs), seed: Number(seed), shard }
})

/** One core's part, in a process of its own: a line for every so many runs. */
const shard = (runs: number, seed: number) =>
  Effect.gen(function*() {
    let done = 0
    const fault = yield* prove(Original, {
      runs,
      seed,
      onRun: () => {
        done += 1
        if (done % progressEvery === 0) process.stdout.write(`${progressEvery}\n`)
      }
    })
    if (fault !== undefined) return yield* new Failed({ message: fault })
  })

const soak = (runs: number, seed: number) =>
  Effect.gen(function*() {
    const cores = availableParallelism()
    const began = yield* Clock.currentTimeNanos
    const seeds = Array.makeBy(cores, (core) => seed + core)
    yield* Console.log(`${runs} schedules on ${cores} cores, seeds ${seeds.join(", ")}`)
    let done = 0
    const elapsed = Effect.map(Clock.currentTimeNanos, (now) => Duration.nanos(now - began))
    yield* Effect.forEach(seeds, (seed) =>
      Effect.scoped(Effect.gen(function*() {
        const part = Math.ceil(runs / cores)
        const child = yield* Command.start(
          Command.make(
            process.execPath,
            ...process.execArgv,
            fileURLToPath(new URL("../../node_modules/vite-node/vite-node.mjs", import.meta.url)),
            fileURLToPath(import.meta.url),
            "--",
            "--shard",
            `--runs=${part}`,
            `--seed=${seed}`
          ).pipe(Command.stderr("inherit"))
        )
        const output = yield* child.stdout.pipe(
          Stream.decodeText(),
          Stream.splitLines,
          Stream.tap((line) => {
            if (line !== String(progressEvery)) return Effect.void
            done += progressEvery
            return Effect.flatMap(elapsed, (time) =>
              Console.log(
                `${done} of ${runs} after ${Duration.format(Duration.seconds(Math.round(Duration.toSeconds(time))))}`
              ))
          }),
          Stream.filter((line) => line !== String(progressEvery)),
          Stream.runCollect
        )
        if ((yield* child.exitCode) !== 0) {
          return yield* new Failed({ message: `violated with seed ${seed}:\n${Array.fromIterable(output).join("\n")}` })
        }
      })), { concurrency: "unbounded", discard: true })
    const time = Duration.format(Duration.seconds(Math.round(Duration.toSeconds(yield* elapsed))))
    yield* Console.log(
      `no violation in ${Math.ceil(runs / cores) * cores} schedules, seeds ${seeds.join(", ")}, ${time}`
    )
  })

Effect.flatMap(options, ({ runs, seed, shard: isShard }) => isShard ? shard(runs, seed) : soak(runs, seed)).pipe(
  Effect.tapError((error) => Console.log(error.message)),
  Effect.provide(NodeContext.layer),
  NodeRuntime.runMain({ disableErrorReporting: true, teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) ? 0 : 1) })
)
