/**
 * `npm run bench`: measures the cost of the built program. The table shows each figure beside a baseline that the same run measured.
 *
 * - `--runs N`: at most N runs of each experiment, 21 without it. An experiment ends earlier once its runs agree.
 * - `--only TEXT`: only the experiments whose name contains the text. Can be given again for more.
 * - `--nodes 22,24`: builds with each of these versions of Node, and measures by it the figures that depend on Node.
 * - `--profile refused`: the phases of a refused start.
 * - `--scale`: how the cost grows with the numbers of WebSockets, of simultaneous starts and of gateways.
 * - `--json`, `--markdown`: the results as JSON, or as the rows of the tables in `docs/benchmarks.md`.
 *
 * The exit status is 0 even if a figure misses its aim, because the load of machines varies. Any other status means that a
 * measurement failed.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { availableParallelism, cpus } from "node:os"
import * as Nodes from "./nodes.ts"
import * as Options from "./options.ts"
import { BenchFailed } from "./processes.ts"
import * as Profile from "./profile.ts"
import * as Scale from "./scale.ts"
import * as Suite from "./suite.ts"

const machine = {
  node: process.version,
  cpu: cpus()[0]?.model ?? "unknown",
  cores: availableParallelism()
}

const run = (options: Options.Options) => {
  switch (options.kind) {
    case "profile":
      return Profile.refused(options)
    case "scale":
      return Scale.all(options)
    case "table":
      return options.nodes.length > 0 ? Nodes.all(options) : Suite.all(options)
  }
}

const bench = Effect.gen(function*() {
  const options = yield* Options.parse(process.argv.slice(2))
  const date = DateTime.formatIsoDateUtc(yield* DateTime.now)
  const [took, { failures = [], text, values }] = yield* Effect.timedWith(run(options), Clock.currentTimeNanos)
  const head = `${date}, Node ${machine.node}, ${machine.cpu}, ${machine.cores} cores; took ${
    Duration.format(Duration.seconds(Math.round(Duration.toSeconds(took))))
  }`
  yield* Console.log(
    options.format === "json"
      ? JSON.stringify({ ...machine, date, seconds: Math.round(Duration.toSeconds(took)), ...values }, null, 2)
      : [head, "", text].join("\n")
  )
  if (failures.length > 0) return yield* new BenchFailed({ reason: failures.join("\n") })
})

bench.pipe(
  Effect.tapError((error) => Console.error(`bench: ${error.message}`)),
  Effect.tapDefect((cause) => Console.error(`bench: ${cause}`)),
  Effect.scoped,
  Effect.provide(NodeContext.layer),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    // An interrupted run has no result, so its exit status is not 0.
    teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) ? 0 : 1)
  })
)
