/**
 * A storm about one lock: eight processes take it, die by SIGKILL or release it, as fast as they can, and are replaced.
 * The witness judges whether two ever had it at one time.
 */
import {
  Array,
  Clock,
  Config,
  Data,
  Deferred,
  type Duration,
  Effect,
  Option,
  Order,
  Random,
  Ref,
  Schema,
  type Scope
} from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Bundle from "../../fixtures/bundle.ts"
import { type Contender, Event, Orders, type Violation } from "./stormEvents.ts"

export class StormFailed extends Data.TaggedError("StormFailed")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

export interface StormOptions {
  readonly contender: Contender
  /** It goes on until so many acquisitions were made … */
  readonly acquisitions: number
  /** … and so long … */
  readonly atLeast: Duration.DurationInput
  /** … but never longer than this. */
  readonly atMost: Duration.DurationInput
  /** How many of a thousand turns end in death. */
  readonly killsPerThousand?: number
  /** How often who waits tries again. Default 50. */
  readonly pollMillis?: number
}

export interface Storm {
  readonly contender: Contender
  readonly seed: string
  readonly seconds: number
  readonly acquisitions: number
  /** Deaths by point, `acquiring 12`; an `any` tells its phase as well. */
  readonly kills: Record<string, number>
  readonly killed: number
  readonly reclaims: number
  /** Why locks could not be had. */
  readonly failures: ReadonlyArray<string>
  readonly violations: ReadonlyArray<Violation>
  /** Those told by whoever was granted a lock that another had: one for each such grant. */
  readonly refused: number
  /** How long each acquisition waited, in milliseconds, ascending. */
  readonly waits: ReadonlyArray<number>
  /** Files beside the locks when all had ended and one more had taken and released the lock. */
  readonly litter: ReadonlyArray<string>
}

const workers = 8
const turnsOfOne = 400

/** What makes most of garbage and of expected errors cheap: workers that wait are most of a storm. */
const nodeOptions = ["--max-semi-space-size=64", "--stack-trace-limit=0"]

/** Printed with each storm. The same seed gives the same fates, not the same interleaving: that is the machine's. */
const seed = Effect.flatMap(
  Config.option(Config.string("GATEWAY_STORM_SEED")),
  Option.match({
    onNone: () => Effect.map(Random.nextIntBetween(0, 2 ** 31), String),
    onSome: (seed) => Effect.succeed(seed)
  })
)

const folder = Effect.acquireRelease(
  Effect.promise(() => Fs.mkdtemp(Path.join(Os.tmpdir(), "gateway-lock-storm-"))),
  (path) => Effect.promise(() => Fs.rm(path, { recursive: true, force: true }))
)

const decode = Schema.decodeUnknownSync(Schema.parseJson(Event))
const encode = Schema.encodeSync(Schema.parseJson(Orders))

/** How a worker ended: by its own hand, or well. */
type End = "killed" | "finished"

/** Runs one worker to its end; when interrupted, asks it to end, and insists if it does not. */
const runWorker = (
  path: string,
  orders: Orders,
  heard: (event: Event) => void
): Effect.Effect<End, StormFailed> =>
  Effect.scoped(Effect.gen(function*() {
    const over = yield* Deferred.make<End, StormFailed>()
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        // Nothing of our environment: what is set there can slow each start of Node, and the workers are many. One thread
        // for files, as a worker asks one thing after the other.
        const child = ChildProcess.spawn(process.execPath, [...nodeOptions, path, encode(orders)], {
          env: { UV_THREADPOOL_SIZE: "1" },
          stdio: ["ignore", "pipe", "pipe"]
        })
        let rest = ""
        let errors = ""
        let last: Event | undefined
        child.stdout.setEncoding("utf8").on("data", (text: string) => {
          const lines = (rest + text).split("\n")
          rest = lines.pop() ?? ""
          for (const line of lines) {
            last = decode(line)
            heard(last)
          }
        })
        child.stderr.setEncoding("utf8").on("data", (text: string) => {
          errors += text
        })
        child.on("error", (error) => Deferred.unsafeDone(over, new StormFailed({ reason: error.message })))
        child.on("close", (code, signal) =>
          Deferred.unsafeDone(
            over,
            code === 0
              ? Effect.succeed("finished" as const)
              : signal === "SIGKILL" && last?._tag === "Dying"
              ? Effect.succeed("killed" as const)
              : new StormFailed({ reason: `a worker ended by ${code ?? signal}: ${errors}` })
          ))
        return child
      }),
      (child) =>
        Effect.sync(() => child.exitCode === null && child.signalCode === null && child.kill("SIGTERM")).pipe(
          Effect.zipRight(Effect.exit(Deferred.await(over))),
          Effect.interruptible,
          Effect.timeoutTo({
            duration: "20 seconds",
            onSuccess: () => undefined,
            onTimeout: () => {
              child.kill("SIGKILL")
            }
          })
        )
    )
    return yield* Deferred.await(over)
  }))

/** The value below which so many of the hundred are; `waits` are ascending. */
export const percentile = (waits: ReadonlyArray<number>, percent: number): number =>
  waits[Math.min(waits.length - 1, Math.floor(waits.length * percent / 100))] ?? Number.NaN

export const perThousand = ({ acquisitions, refused }: Storm): number => 1000 * refused / Math.max(1, acquisitions)

export const run = (options: StormOptions): Effect.Effect<Storm, StormFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const { contender } = options
    const place = yield* folder
    const path = yield* Bundle.file(new URL("stormWorker.ts", import.meta.url), yield* folder)
    const mainSeed = yield* Effect.orDie(seed)
    const reached = yield* Deferred.make<void>()
    if (options.acquisitions === 0) yield* Deferred.succeed(reached, undefined)
    const startedAt = yield* Clock.currentTimeMillis
    const started = yield* Ref.make(0)

    const waits: Array<number> = []
    const kills: Record<string, number> = {}
    const failures: Array<string> = []
    const violations: Array<Violation> = []
    let killed = 0
    let reclaims = 0
    const heard = (event: Event) => {
      switch (event._tag) {
        case "Granted":
          waits.push(event.waitedMs)
          if (waits.length === options.acquisitions) Deferred.unsafeDone(reached, Effect.void)
          return
        case "Dying": {
          const name = event.point === "any" ? `any (${event.phase})` : event.point
          kills[name] = (kills[name] ?? 0) + 1
          killed += 1
          return
        }
        case "Reclaimed":
          reclaims += 1
          return
        case "Failed":
          failures.push(event.reason)
          return
        case "Violation":
          violations.push(event)
          return
        case "Released":
          return
      }
    }

    const orders = {
      contender,
      folder: place,
      turns: turnsOfOne,
      killsPerThousand: options.killsPerThousand ?? 40,
      pollMillis: options.pollMillis ?? 50
    }
    const successors = Effect.flatMap(
      Ref.updateAndGet(started, (count) => count + 1),
      (number) => runWorker(path, { ...orders, seed: `${mainSeed}/${number}` }, heard)
    ).pipe(Effect.forever)

    const enough = Effect.all([Deferred.await(reached), Effect.sleep(options.atLeast)], {
      concurrency: "unbounded",
      discard: true
    }).pipe(Effect.timeoutOption(options.atMost))
    yield* Effect.raceFirst(
      Effect.all(Array.makeBy(workers, () => successors), { concurrency: "unbounded", discard: true }),
      enough
    )
    const endedAt = yield* Clock.currentTimeMillis
    const acquisitions = waits.length
    const sorted = Array.sort(waits, Order.number)

    // Whatever the dead have left, the lock can be had.
    yield* runWorker(path, { ...orders, turns: 1, killsPerThousand: 0, seed: "last" }, heard)
    const litter = yield* Effect.promise(() => Fs.readdir(Path.join(place, "locks")).catch(() => []))
    return {
      contender,
      seed: mainSeed,
      seconds: (endedAt - startedAt) / 1000,
      acquisitions,
      kills,
      killed,
      reclaims,
      failures,
      violations,
      refused: violations.filter(({ kind }) => kind === "refused").length,
      waits: sorted,
      litter
    }
  })

/** What a storm came to, for people. */
export const describe = (storm: Storm): string =>
  [
    `${storm.contender}: ${storm.acquisitions} acquisitions in ${storm.seconds.toFixed(1)} s, seed ${storm.seed}`,
    `  killed ${storm.killed}: ${
      Object.entries(storm.kills).toSorted().map(([point, count]) => `${point} ${count}`).join(", ")
    }`,
    `  reclaims ${storm.reclaims}, not granted ${storm.failures.length}, files left ${storm.litter.length}`,
    `  violations ${storm.refused} (${perThousand(storm).toFixed(3)} per thousand), overtaken ${
      storm.violations.length - storm.refused
    }`,
    `  waited p50 ${percentile(storm.waits, 50).toFixed(1)} ms, p95 ${
      percentile(storm.waits, 95).toFixed(1)
    } ms, at most ${percentile(storm.waits, 100).toFixed(0)} ms`,
    ...storm.violations.slice(0, 10).map(({ at, kind, other, pid, turn }) =>
      `  ${kind}: pid ${pid} turn ${turn} ${at}, other: ${other}`
    ),
    ...Array.dedupe(storm.failures).slice(0, 5).map((reason) => `  not granted: ${reason}`)
  ].join("\n")
