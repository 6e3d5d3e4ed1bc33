/**
 * `npm run bench [-- --runs N] [--only TEXT] [--json]`: measures the cost of the built program. The table shows each figure
 * beside a baseline that the same run measured.
 *
 * `--only` runs only the experiments whose name contains the text.
 *
 * The exit status is 0 even if a figure misses its aim, because the load of machines varies. Any other status means that a
 * measurement failed.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { availableParallelism, cpus } from "node:os"
import { parseArgs } from "node:util"
import { experiments } from "./experiments/index.ts"
import type { Aim, Measured, Spread } from "./measure.ts"
import { BenchFailed, readsCertificates } from "./processes.ts"

const options = Effect.gen(function*() {
  const { values } = yield* Effect.try({
    try: () =>
      parseArgs({
        args: process.argv.slice(2),
        options: {
          runs: { type: "string", default: "21" },
          only: { type: "string", default: "" },
          json: { type: "boolean" }
        }
      }),
    catch: (cause) => new BenchFailed({ reason: `${cause}; options: --runs N, --only TEXT, --json` })
  })
  if (!/^[1-9]\d{0,3}$/.test(values.runs)) {
    return yield* new BenchFailed({ reason: `--runs ${values.runs}: not a number from 1 to 9999` })
  }
  const chosen = Object.entries(experiments).filter(([name]) => name.includes(values.only))
  if (chosen.length === 0) {
    return yield* new BenchFailed({
      reason: `--only ${values.only}: in none of the names: ${Object.keys(experiments).join("; ")}`
    })
  }
  return { runs: Number(values.runs), chosen, json: values.json === true }
})

const quartiles = (digits: number, { lowerQuartile, upperQuartile }: Spread): string =>
  `[${lowerQuartile.toFixed(digits)}, ${upperQuartile.toFixed(digits)}]`

const describeAim = (aim: Aim, suffix: string): string =>
  "most" in aim ? `<= ${aim.most}${suffix}` : `>= ${aim.least}${suffix}`

const line = ({ aim, baseline, comparison, met, name, subject, unit }: Measured): ReadonlyArray<string> => {
  const [digits, sign, suffix] = comparison.kind === "ratio"
    ? [2, "", " x"]
    : comparison.kind === "absolute"
    ? [1, "p95 ", ` ${unit}`]
    : comparison.kind === "alone"
    ? [1, "", ` ${unit}`]
    : [1, comparison.median < 0 ? "" : "+", ` ${unit}`]
  return [
    name,
    baseline?.name ?? "-",
    baseline === null ? "-" : `${baseline.median.toFixed(1)} ${unit} ${quartiles(1, baseline)}`,
    `${subject.median.toFixed(1)} ${unit} ${quartiles(1, subject)}`,
    `${sign}${comparison.median.toFixed(digits)}${suffix} ${quartiles(digits, comparison)}`,
    aim === null ? "-" : describeAim(aim, suffix),
    met === null ? "-" : met ? "yes" : "no"
  ]
}

const table = (measured: ReadonlyArray<Measured>): string => {
  const header = ["figure", "baseline", "baseline median", "subject median", "compared", "aim", "met"]
  const lines = [header, ...measured.map(line)]
  const widths = header.map((_, column) => Math.max(...lines.map((cells) => cells[column]?.length ?? 0)))
  return lines.map((cells) => cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  ").trimEnd()).join("\n")
}

const bench = Effect.gen(function*() {
  const { chosen, json, runs } = yield* options
  const machine = {
    node: process.version,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    runs,
    readsCertificates
  }
  const began = yield* Clock.currentTimeNanos
  const measured = (yield* Effect.forEach(
    chosen,
    ([name, experiment]) =>
      Effect.zipRight(
        // The table of results appears only after minutes. Until then, stderr shows the progress.
        Console.error(`measuring ${name}`),
        Effect.scoped(experiment(runs))
      )
  )).flat()
  const took = Duration.format(Duration.seconds(Math.round(Number((yield* Clock.currentTimeNanos) - began) / 1e9)))
  yield* Console.log(
    json ? JSON.stringify({ ...machine, rows: measured }, null, 2) : [
      `Node ${machine.node}, ${machine.cpu}, ${machine.cores} cores, ${runs} runs of each side in turns${
        readsCertificates ? ", NODE_EXTRA_CA_CERTS set" : ""
      }; took ${took}`,
      "",
      table(measured),
      "",
      "All medians, with quartiles in brackets. Compared: subject with baseline in each pair of runs, then the median;\np95: the 95th percentile, with the slowest in brackets."
    ].join("\n")
  )
})

bench.pipe(
  Effect.tapError((error) => Console.error(`bench: ${error.message}`)),
  Effect.tapDefect((cause) => Console.error(`bench: ${cause}`)),
  Effect.provide(NodeFileSystem.layer),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    // An interrupted run has no result, so its exit status is not 0.
    teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) ? 0 : 1)
  })
)
