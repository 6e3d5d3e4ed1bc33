/**
 * `npm run bench -- --profile refused`: the phases of a refused start. `marks.cjs`, which Node loads before the program, notes when
 * each begins. The same starts without it, in turns, show what the marks cost.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { join } from "node:path"
import { hrtime } from "node:process"
import { fileURLToPath } from "node:url"
import { type Spread, spread } from "./measure.ts"
import type { Options } from "./options.ts"
import { BenchFailed, Environment, expectEnd, firstAnswer, freePort, millis, startNode } from "./processes.ts"
import * as Program from "./program.ts"
import { quartiles, type Results, table } from "./report.ts"

const preload = fileURLToPath(new URL("marks.cjs", import.meta.url))

/** What `marks.cjs` writes. */
const Marks = Schema.parseJson(Schema.Struct({
  began: Schema.BigInt,
  ready: Schema.BigInt,
  main: Schema.BigInt,
  connected: Schema.BigInt,
  reported: Schema.BigInt,
  read: Schema.BigInt,
  evaluate: Schema.BigInt,
  readBeforeConnect: Schema.BigInt,
  evaluateBeforeConnect: Schema.BigInt
}))

const phases = [
  "Node itself",
  "reading and accepting compiled code",
  "evaluating modules",
  "settings and layers, up to the connect",
  "from the connect to the report",
  "exit",
  "the preload of the marks"
] as const

/** The time of each phase, in milliseconds, in the order of `phases`. */
type Times = ReadonlyArray<number>

const timesOf = (marks: typeof Marks.Type, startedAt: bigint, endedAt: bigint): Times => {
  const { began, connected, evaluate, evaluateBeforeConnect, main, read, readBeforeConnect, ready, reported } = marks
  const before = connected - main - readBeforeConnect - evaluateBeforeConnect
  const after = reported - connected - (read - readBeforeConnect) - (evaluate - evaluateBeforeConnect)
  const node = (began - startedAt) + (main - ready)
  return [node, read, evaluate, before, after, endedAt - reported, ready - began].map((nanos) => millis(0n, nanos))
}

interface Sample {
  readonly times: Times
  readonly whole: number
  readonly unmarked: number
  readonly node: number
}

/** Takes samples of refused starts, with and without marks, in turns. */
export const sampleRefused = (
  runs: number
): Effect.Effect<ReadonlyArray<Sample>, BenchFailed, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const port = yield* freePort
    const args = Program.gatewayArgs(folder, port)
    yield* firstAnswer(yield* startNode(args), port)
    const output = join(folder, "marks.json")
    const clock = yield* Effect.clock
    // The marks are times of Node's clock. The clock of Effect differs from it by a constant.
    const offset = clock.unsafeCurrentTimeNanos() - hrtime.bigint()
    const refused = "another gateway instance is already listening"
    const marked = Effect.gen(function*() {
      const process = yield* startNode(["--require", preload, ...args])
      const { at } = yield* expectEnd(process, 1, refused)
      const marks = yield* Effect.flatMap(Program.readFile(output), Schema.decode(Marks)).pipe(
        Effect.mapError((error) => new BenchFailed({ reason: `a mark is missing: ${error.message}` }))
      )
      return { times: timesOf(marks, process.startedAt - offset, at - offset), whole: millis(process.startedAt, at) }
    }).pipe(
      Effect.scoped,
      Effect.provideService(Environment, { ...yield* Environment, GATEWAY_LOCK_BENCH_MARKS: output })
    )
    const unmarked = Effect.scoped(Program.lifeOf(args, 1, refused))
    const node = Effect.scoped(Program.lifeOf(["-e", "0"], 0))
    const sample = (run: number) =>
      run % 2 === 0
        ? Effect.map(
          Effect.all([node, unmarked, marked]),
          ([node, unmarked, marked]) => ({ node, unmarked, ...marked })
        )
        : Effect.map(
          Effect.all([marked, unmarked, node]),
          ([marked, unmarked, node]) => ({ node, unmarked, ...marked })
        )
    yield* sample(0)
    return yield* Effect.forEach(Array.from({ length: runs }, (_, run) => run), sample)
  })

const line = (name: string, values: Spread) => [name, `${values.median.toFixed(1)} ms`, quartiles(1, values)]

/** The phases of a refused start, in a table. */
export const refused = (
  options: Options
): Effect.Effect<Results, BenchFailed, FileSystem.FileSystem | Scope.Scope> =>
  Effect.map(sampleRefused(options.runs), (samples) => {
    const medians = phases.map((name, at) => ({ name, ...spread(samples.map(({ times }) => times[at] ?? Number.NaN)) }))
    const wholes = [
      { name: "whole, with marks", ...spread(samples.map(({ whole }) => whole)) },
      { name: "whole, without marks", ...spread(samples.map(({ unmarked }) => unmarked)) },
      { name: "cost of the marks", ...spread(samples.map(({ unmarked, whole }) => whole - unmarked)) },
      { name: "node -e 0", ...spread(samples.map(({ node }) => node)) }
    ]
    const lines = [["phase", "median", "quartiles"], ...[...medians, ...wholes].map((row) => line(row.name, row))]
    return {
      values: { runs: options.runs, phases: medians, wholes, samples },
      text: table(options.format, lines)
    }
  })
