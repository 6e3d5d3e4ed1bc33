/**
 * `npm run bench:storm [-- --seconds N] [--json]`: runs a storm on each of several kinds of locks, one after the other, and
 * compares the results. In a storm, eight processes acquire one lock again and again. Each time, a process either releases the
 * lock or dies. A second lock, the witness, shows how many acquisitions overlapped. The storm also measures how long the
 * processes waited for the lock.
 *
 * The exit status is 0 for any result, because this is a measurement. `test/chaos/storm.chaos.ts` is the test that must pass.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { availableParallelism, cpus } from "node:os"
import { parseArgs } from "node:util"
import * as Storm from "../chaos/support/storm.ts"
import type { Contender } from "../chaos/support/stormEvents.ts"
import { BenchFailed } from "./processes.ts"

const options = Effect.gen(function*() {
  const { values } = yield* Effect.try({
    try: () =>
      parseArgs({
        args: process.argv.slice(2),
        options: { seconds: { type: "string", default: "60" }, json: { type: "boolean" } }
      }),
    catch: (cause) => new BenchFailed({ reason: `${cause}; options: --seconds N, --json` })
  })
  if (!/^[1-9]\d{0,2}$/.test(values.seconds)) {
    return yield* new BenchFailed({ reason: `--seconds ${values.seconds}: not a number from 1 to 999` })
  }
  return { seconds: Duration.seconds(Number(values.seconds)), json: values.json === true }
})

const contenders: ReadonlyArray<{ readonly contender: Contender; readonly name: string }> = [
  { contender: "kernel", name: "gateway-lock, kernel" },
  { contender: "record", name: "gateway-lock, record only" },
  { contender: "os-lock", name: "fs-native-extensions alone" },
  { contender: "proper-lockfile", name: "proper-lockfile, stale 2 s" }
]

const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const [header = []] = rows
  const widths = header.map((_, column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0)))
  return rows.map((cells) => cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  ").trimEnd()).join("\n")
}

const header = ["lock", "acquisitions", "killed", "violations", "per thousand", "waited p50", "p95", "p99", "most"]

const line = (name: string, storm: Storm.Storm): ReadonlyArray<string> => [
  name,
  String(storm.acquisitions),
  String(storm.killed),
  String(storm.refused),
  Storm.perThousand(storm).toFixed(2),
  ...[50, 95, 99, 100].map((percent) => `${Storm.percentile(storm.waits, percent).toFixed(0)} ms`)
]

const bench = Effect.gen(function*() {
  const { json, seconds } = yield* options
  const storms = yield* Effect.forEach(contenders, ({ contender, name }) =>
    Effect.map(
      Effect.scoped(Storm.run({ contender, acquisitions: 0, atLeast: seconds, atMost: seconds })),
      (storm) => ({ name, storm })
    ))
  const machine = `Node ${process.version}, ${cpus()[0]?.model ?? "unknown"}, ${availableParallelism()} cores`
  yield* Console.log(
    json ? JSON.stringify({ machine, storms }, null, 2) : [
      `${machine}, ${Duration.toSeconds(seconds)} seconds each, seeds ${
        storms.map(({ storm }) => storm.seed).join(", ")
      }`,
      "",
      table([header, ...storms.map(({ name, storm }) => line(name, storm))]),
      "",
      "A violation: the lock was granted while another process had it, as the kernel's own exclusion tells."
    ].join("\n")
  )
})

bench.pipe(
  Effect.tapError((error) => Console.error(`bench: ${error.message}`)),
  Effect.tapDefect((cause) => Console.error(`bench: ${cause}`)),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    // An interrupted run has no result, so its exit status is not 0.
    teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) ? 0 : 1)
  })
)
