/**
 * `gateway list` over more and more gateways of one user.
 *
 * A process for each of a thousand gateways would take more memory than most machines have. So one process runs fifty of them by the
 * library: each has its own state directory, locks, record, port and health answer, which is all that `list` reads of it. Processes
 * that sleep make up for the missing ones, because `list` looks at the open files of all processes of the user.
 */
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import { join } from "node:path"
import { spread } from "../measure.ts"
import { BenchFailed, Environment, expectEnd, millis, start, startNode } from "../processes.ts"
import * as Program from "../program.ts"

export const points = [10, 100, 300, 1_000]

export const perProcess = 50

const runs = 5

interface Listing {
  readonly time: number
  /** How many of the gateways `list` found healthy. A busy machine can delay the answer of one beyond the probe timeout. */
  readonly running: number
}

/** Times a process. Fails unless its output has a line for each of the gateways. */
const timed = (args: ReadonlyArray<string>, gateways: number) =>
  Effect.gen(function*() {
    const process = yield* startNode(args)
    const { at, output } = yield* expectEnd(process, 0)
    const lines = output.split("\n").filter((line) => /^p\d+ /.test(line))
    if (lines.length !== gateways) {
      return yield* new BenchFailed({ reason: `list shows ${lines.length} of ${gateways} gateways:\n${output}` })
    }
    const running = lines.filter((line) => /^p\d+ +running /.test(line)).length
    return { time: millis(process.startedAt, at), running } satisfies Listing
  }).pipe(Effect.scoped)

/** Measures each point. The gateways of a point run on while the next point adds its own. */
export const measure = (points: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const root = join(folder, "state")
    const program = yield* Program.server("many", folder)
    const environment = { ...yield* Environment, XDG_STATE_HOME: root }
    const running = yield* Ref.make(0)
    const addTo = (count: number) =>
      Effect.gen(function*() {
        for (let first = yield* Ref.get(running); first < count; first = yield* Ref.get(running)) {
          const size = Math.min(perProcess, count - first)
          const process = yield* startNode([program, String(first), String(size), join(root, "gateway-lock")])
          yield* process.said("listening")
          yield* Effect.replicateEffect(start("sleep", ["3600"]), size - 1)
          yield* Ref.update(running, (sofar) => sofar + size)
        }
      })
    return yield* Effect.forEach(points, (count) =>
      Effect.gen(function*() {
        yield* addTo(count)
        const pairs = yield* Effect.replicateEffect(
          Effect.all([timed(["-e", "0"], 0), timed([Program.path, "list"], count)]),
          runs
        ).pipe(Effect.provideService(Environment, environment))
        return {
          count,
          baseline: spread(pairs.map(([baseline]) => baseline.time)).median,
          time: spread(pairs.map(([, list]) => list.time)).median,
          running: Math.min(...pairs.map(([, list]) => list.running))
        }
      }))
  })
