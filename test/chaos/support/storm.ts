/**
 * A storm on one lock: eight worker processes acquire the lock as fast as they can, and each time either release it or die by
 * SIGKILL. A new process replaces each dead one.
 *
 * A second lock, the witness, is the judge. It shows whether two workers ever held the lock under test at one time.
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
  /** The number of acquisitions that the storm must reach before it ends, unless `atMost` ends it earlier. */
  readonly acquisitions: number
  /** The least duration of the storm. */
  readonly atLeast: Duration.DurationInput
  /** The storm ends after this time at the latest. */
  readonly atMost: Duration.DurationInput
  /**
   * How many of a thousand turns end because the worker kills itself. In a turn, a worker acquires and releases the lock.
   * Default: 40.
   */
  readonly killsPerThousand?: number
  /** The milliseconds after which a worker that waits for the lock tries again. Default: 50. */
  readonly pollMillis?: number
}

export interface Storm {
  readonly contender: Contender
  readonly seed: string
  readonly seconds: number
  readonly acquisitions: number
  /**
   * The number of deaths at each point of a worker's turn, such as `acquiring`. For a death after a random time, the key also
   * names the phase: `any (holding)`.
   */
  readonly kills: Record<string, number>
  readonly killed: number
  readonly reclaims: number
  /** For each attempt that ended without the lock: the reason. */
  readonly failures: ReadonlyArray<string>
  readonly violations: ReadonlyArray<Violation>
  /**
   * How many of the violations are of the kind `refused`: a worker was granted the lock under test, but was then refused the
   * second lock, the witness, because another worker still held both locks.
   */
  readonly refused: number
  /** How long each acquisition waited, in milliseconds, in ascending order. */
  readonly waits: ReadonlyArray<number>
  /**
   * The names of the files that remain in the folder of the lock at the end. Before that, all workers have ended, and one more
   * worker has acquired and released the lock.
   */
  readonly litter: ReadonlyArray<string>
}

const workers = 8
const turnsOfOne = 400

/**
 * Flags for Node that make short-lived objects and expected errors cheap. Most of the processor time of a storm goes to workers
 * that wait for the lock. At each try, they create short-lived objects and errors.
 */
const nodeOptions = ["--max-semi-space-size=64", "--stack-trace-limit=0"]

/**
 * The seed of a storm, which the printed result contains. The same seed gives the same deaths in the same turns, but the order in
 * which the processes run depends on the machine.
 */
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

/** How a worker ended: it killed itself, or it finished its turns. */
type End = "killed" | "finished"

/**
 * Runs one worker until it ends. On interruption, the worker gets SIGTERM, and SIGKILL if it has not ended within 20 seconds.
 */
const runWorker = (
  program: ReadonlyArray<string>,
  orders: Orders,
  heard: (event: Event) => void
): Effect.Effect<End, StormFailed> =>
  Effect.scoped(Effect.gen(function*() {
    const over = yield* Deferred.make<End, StormFailed>()
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        // The workers inherit no environment, because some variables slow each start of Node, and a storm starts many workers.
        // One thread for file calls is enough, because a worker makes only one call at a time.
        const child = ChildProcess.spawn(process.execPath, [...nodeOptions, ...program, encode(orders)], {
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

/** Returns a percentile: `percent` percent of the waits are not longer than the result. `waits` must be in ascending order. */
export const percentile = (waits: ReadonlyArray<number>, percent: number): number =>
  waits[Math.min(waits.length - 1, Math.floor(waits.length * percent / 100))] ?? Number.NaN

export const perThousand = ({ acquisitions, refused }: Storm): number => 1000 * refused / Math.max(1, acquisitions)

export const run = (options: StormOptions): Effect.Effect<Storm, StormFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const { contender } = options
    const place = yield* folder
    const program = yield* Bundle.compiled(new URL("stormWorker.ts", import.meta.url))
    const mainSeed = yield* Effect.orDie(seed)
    const reached = yield* Deferred.make<void>()
    if (options.acquisitions === 0) yield* Deferred.succeed(reached, undefined)
    // The worker program saves its compiled code for later starts in an exit handler, which does not run if the worker is killed.
    // This first worker ends normally, so all others find saved code. Its events are not counted.
    yield* runWorker(program, {
      contender,
      folder: yield* folder,
      seed: "first",
      turns: 1,
      killsPerThousand: 0,
      pollMillis: 50
    }, () => {})
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
      (number) => runWorker(program, { ...orders, seed: `${mainSeed}/${number}` }, heard)
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

    // One more worker must be able to acquire the lock, whatever files the dead workers have left.
    yield* runWorker(program, { ...orders, turns: 1, killsPerThousand: 0, seed: "last" }, heard)
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

/** The result of a storm as text. */
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
