/**
 * The command line of the benchmark.
 */
import * as Effect from "effect/Effect"
import { parseArgs } from "node:util"
import { type Entry, experiments } from "./experiments/index.ts"
import { BenchFailed } from "./processes.ts"

/** How the results are printed: for a terminal, as JSON, or as rows of a Markdown table for `docs/benchmarks.md`. */
export type Format = "text" | "json" | "markdown"

export type Chosen = readonly [name: string, entry: Entry]

export interface Options {
  readonly kind: "table" | "profile" | "scale"
  /** The most runs of each experiment. */
  readonly runs: number
  /** Whether `--runs` was given. */
  readonly hasRuns: boolean
  readonly chosen: ReadonlyArray<Chosen>
  /** The major versions of Node to build and measure with, instead of the Node that runs the benchmark. */
  readonly nodes: ReadonlyArray<string>
  readonly format: Format
}

const usage =
  "options: --runs N, --only TEXT (again for more), --nodes 22,24, --profile refused, --scale, --json, --markdown"

const refuse = (reason: string) => new BenchFailed({ reason })

const parsed = (args: ReadonlyArray<string>) =>
  Effect.try({
    try: () =>
      parseArgs({
        args: [...args],
        options: {
          runs: { type: "string" },
          only: { type: "string", multiple: true },
          nodes: { type: "string" },
          profile: { type: "string" },
          scale: { type: "boolean", default: false },
          json: { type: "boolean", default: false },
          markdown: { type: "boolean", default: false }
        }
      }).values,
    catch: (cause) => refuse(`${cause}; ${usage}`)
  })

/** The experiments whose names contain one of the texts. */
const choose = (texts: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const names = Object.keys(experiments)
    for (const text of texts) {
      if (!names.some((name) => name.includes(text))) {
        return yield* refuse(`--only ${text}: in none of the names: ${names.join("; ")}`)
      }
    }
    return Object.entries(experiments).filter(([name]) => texts.some((text) => name.includes(text)))
  })

/** Reads the command line. Bad input is refused in one line. */
export const parse = (args: ReadonlyArray<string>): Effect.Effect<Options, BenchFailed> =>
  Effect.gen(function*() {
    const { json, markdown, nodes, only, profile, runs, scale } = yield* parsed(args)
    if (runs !== undefined && !/^[1-9]\d{0,3}$/.test(runs)) {
      return yield* refuse(`--runs ${runs}: not a number from 1 to 9999`)
    }
    if (profile !== undefined && profile !== "refused") return yield* refuse(`--profile ${profile}: only "refused"`)
    if (nodes !== undefined && !/^\d{2}(,\d{2})*$/.test(nodes)) {
      return yield* refuse(`--nodes ${nodes}: not major versions such as 22,24`)
    }
    if (json && markdown) return yield* refuse("--json and --markdown: only one of them")
    const kinds = [["--profile", profile !== undefined], ["--scale", scale], ["--nodes", nodes !== undefined]] as const
    const given = kinds.filter(([, isGiven]) => isGiven).map(([name]) => name)
    if (given.length > 1) return yield* refuse(`${given.join(" and ")}: only one of them`)
    if (only !== undefined && (scale || profile !== undefined)) {
      return yield* refuse(`--only and ${given.join()}: only one of them`)
    }
    const all: ReadonlyArray<Chosen> = Object.entries(experiments)
    return {
      kind: profile !== undefined ? "profile" : scale ? "scale" : "table",
      runs: runs === undefined ? 21 : Number(runs),
      hasRuns: runs !== undefined,
      chosen: only !== undefined
        ? yield* choose(only)
        : nodes === undefined
        ? all
        : all.filter(([, { dependsOnNode }]) => dependsOnNode === true),
      nodes: nodes === undefined ? [] : nodes.split(","),
      format: json ? "json" : markdown ? "markdown" : "text"
    }
  })
