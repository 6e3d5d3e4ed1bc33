/**
 * `npm run bench -- --scale`: how the cost grows with the numbers of WebSockets, of simultaneous starts and of gateways. It is a
 * command of its own, because it takes minutes and most of the machine's memory.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Options } from "./options.ts"
import { type BenchFailed, WaitLimit } from "./processes.ts"
import { type Results, table } from "./report.ts"
import * as Crowds from "./scale/crowds.ts"
import * as Lists from "./scale/lists.ts"
import * as Sockets from "./scale/sockets.ts"

const fixed = (value: number | undefined, digits = 1): string => value === undefined ? "-" : value.toFixed(digits)

const ms = (value: number): string => `${value.toFixed(value >= 100 ? 0 : 1)} ms`

const socketLines = (rows: Effect.Effect.Success<ReturnType<typeof Sockets.measure>>) => [
  ["idle WebSockets", "memory of each", "processor time, idle", "p95 of /healthz", "SIGTERM to exit", "of each"],
  ...rows.map(({ baseline, count, each, health, processor, stop }) => [
    String(count),
    `${fixed(each)} KiB (ws alone: ${fixed(baseline.each)})`,
    `${fixed(processor)} ms a second`,
    ms(health),
    `${ms(stop)} (ws alone: ${fixed(baseline.stop, 0)})`,
    `${fixed(stop / count, 3)} ms`
  ])
]

const crowdLines = (rows: Effect.Effect.Success<ReturnType<typeof Crowds.measure>>) => [
  ["simultaneous starts", "until all are settled", "of each", "slowest loser", "as many node -e 0", "ratio"],
  ...rows.map(({ baseline, size, slowest, total }) => [
    String(size),
    ms(total),
    ms(total / size),
    ms(slowest),
    ms(baseline.total),
    fixed(total / baseline.total, 2)
  ])
]

const listLines = (rows: Effect.Effect.Success<ReturnType<typeof Lists.measure>>) => [
  ["gateways", "of these found running", "gateway list", "node -e 0", "ratio", "each gateway beyond node -e 0"],
  ...rows.map(({ baseline, count, running, time }) => [
    String(count),
    String(running),
    ms(time),
    ms(baseline),
    fixed(time / baseline),
    `${fixed((time - baseline) / count, 2)} ms`
  ])
]

const step = <A, E, R>(name: string, measure: Effect.Effect<A, E, R>) =>
  Effect.zipRight(Console.error(`measuring ${name}`), Effect.scoped(measure))

/** Measures the growth of all three. */
export const all = ({ format }: Options): Effect.Effect<Results, BenchFailed, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function*() {
    const lists = yield* step("list", Lists.measure(Lists.points))
    const crowds = yield* step("simultaneous starts", Crowds.measure(Crowds.points))
    const sockets = yield* step("idle WebSockets", Sockets.measure(Sockets.points))
    return {
      values: { sockets, crowds, lists },
      text: [
        `One gateway with idle WebSockets, and ${Sockets.watchers} watchers:`,
        "",
        table(format, socketLines(sockets)),
        "",
        "Simultaneous starts of one gateway; exactly one serves:",
        "",
        table(format, crowdLines(crowds)),
        "",
        "`gateway list` over running gateways of one user:",
        "",
        table(format, listLines(lists))
      ].join("\n")
    }
  }).pipe(
    // Hundreds of processes share two cores.
    Effect.provideService(WaitLimit, Duration.minutes(3))
  )
