/**
 * A storm on `gateway exec`: several wrappers wait for one lock, each to run its command. Each time one of them gets the lock, it is
 * killed, or its command, or both, at a drawn moment. A new wrapper replaces each one that ends.
 *
 * Each command takes a lock of the kernel (`execJudge.ts`), which shows whether two commands ever ran at one time.
 */
import { assert } from "@effect/vitest"
import { Array, Clock, Config, Deferred, type Duration, Effect, Option, Random, type Scope } from "effect"
import type * as Execs from "../../e2e/support/execs.ts"
import * as Gateways from "../../e2e/support/gateways.ts"
import type * as Processes from "../../e2e/support/processes.ts"
import * as Judge from "./execJudge.ts"

export interface StormOptions {
  /** The path of the built program. */
  readonly main: string
  /** How often the lock must be acquired before the storm ends, unless `atMost` ends it earlier. */
  readonly rounds: number
  /** The storm ends after this time at the latest. */
  readonly atMost: Duration.DurationInput
  /** The number of wrappers that compete at one time. Default: 8. */
  readonly contenders?: number
  /** Further flags of `gateway exec`. */
  readonly flags?: ReadonlyArray<string>
  /** Other programs that compete for the same lock. Each of these effects runs one of them once, and is repeated until the end. */
  readonly beside?: ReadonlyArray<(site: Gateways.Site, random: Random.Random) => Effect.Effect<void>>
}

export interface Storm {
  readonly seed: string
  readonly seconds: number
  /** How often a wrapper got the lock. */
  readonly rounds: number
  /** How often a command ran. A wrapper that is killed soon after it got the lock starts none. */
  readonly commands: number
  /** The number of deaths of each kind. */
  readonly deaths: Readonly<Record<string, number>>
  /** What the judges have written about commands that ran at the same time. */
  readonly accusations: string
  /** The wrappers that ended in another way than the storm made them end. */
  readonly failures: ReadonlyArray<string>
}

/**
 * What ends a wrapper:
 *
 * - `anytime`: SIGKILL of the wrapper, at any moment after its start, whether it holds the lock or not.
 * - `owner`: SIGKILL of the wrapper soon after it got the lock, and SIGKILL of its command, if it runs, a while later.
 * - `command`: SIGKILL of the command.
 * - `both`: SIGKILL of the wrapper and of the command at once.
 * - `stop`: SIGTERM to the wrapper.
 * - `end`: the command ends by itself.
 */
type Fate = "anytime" | "owner" | "command" | "both" | "stop" | "end"

const fates: ReadonlyArray<Fate> = [
  "anytime",
  "owner",
  "owner",
  "owner",
  "owner",
  "command",
  "both",
  "both",
  "stop",
  "end"
]

/** How a wrapper of each fate may end: by this signal, or by itself with 0. */
const expected: Readonly<Record<Fate, NodeJS.Signals | 0>> = {
  anytime: "SIGKILL",
  owner: "SIGKILL",
  command: "SIGKILL",
  both: "SIGKILL",
  stop: "SIGTERM",
  end: 0
}

/**
 * The seed of a storm. The same seed gives the wrappers the same fates, but the order in which the processes run depends on the
 * machine.
 */
const seed = Effect.flatMap(
  Config.option(Config.string("GATEWAY_STORM_SEED")),
  Option.match({
    onNone: () => Effect.map(Random.nextIntBetween(0, 2 ** 31), String),
    onSome: (seed) => Effect.succeed(seed)
  })
)

/** Waits for a drawn time. */
const pause = (random: Random.Random, millis: number) =>
  Effect.flatMap(random.nextRange(0, millis), (time) => Effect.sleep(time))

/** Ends a wrapper as its fate says. Completes when the wrapper has got its signals, and its command as well. */
const end = (wrapper: Processes.Running, fate: Fate, random: Random.Random): Effect.Effect<void> =>
  Effect.gen(function*() {
    const kill = wrapper.signal("SIGKILL")
    /** Kills the command after a drawn time, in which the command runs without its wrapper. */
    const killCommandLater = (millis: number) =>
      Effect.flatMap(
        Judge.childOf(wrapper),
        Option.match({
          onNone: () => Effect.void,
          onSome: (child) => Effect.zipRight(pause(random, millis), Judge.killChild(child))
        })
      )
    switch (fate) {
      case "anytime":
        yield* pause(random, 700)
        yield* kill
        return yield* killCommandLater(100)
      case "owner":
        yield* Judge.lineOf(wrapper, Judge.gotTheLock)
        yield* pause(random, 80)
        yield* kill
        return yield* killCommandLater(150)
      case "command":
        return yield* killCommandLater(30)
      case "both": {
        const child = yield* Judge.childOf(wrapper)
        if (Option.isNone(child)) return
        const steps = [kill, Judge.killChild(child.value)]
        return yield* Effect.all((yield* random.nextBoolean) ? steps : steps.toReversed(), { discard: true })
      }
      case "stop":
        yield* Judge.childOf(wrapper)
        yield* pause(random, 30)
        return yield* wrapper.signal("SIGTERM")
      case "end":
        return
    }
  })

/** What had happened to a wrapper before it was killed. */
const stateOf = (stderr: string): string =>
  /^child \d+$/m.test(stderr) ? "its command ran" : Judge.gotTheLock.test(stderr) ? "it had the lock" : "it waited"

/** Runs a storm in a site of its own. */
export const run = (
  { atMost, beside = [], contenders = 8, flags = [], main, rounds }: StormOptions
): Effect.Effect<Storm, never, Scope.Scope> =>
  Effect.gen(function*() {
    const site = yield* Gateways.newSite
    yield* Gateways.writeConfig(site, { lock: { pollInterval: "20 millis" } })
    const drawn = yield* Effect.orDie(seed)
    const over = yield* Deferred.make<void>()
    const startedAt = yield* Clock.currentTimeMillis
    let acquired = 0
    let commands = 0
    const deaths: Record<string, number> = {}
    const failures: Array<string> = []

    const options: Execs.Options = {
      main,
      // The wrappers wait longer than the storm takes, so a wrapper that ends unasked has failed.
      flags: ["--no-port", "--lock-timeout", "2 hours", ...flags],
      patience: "2 hours",
      niceness: 5
    }
    const turn = (random: Random.Random) =>
      Effect.scoped(Effect.gen(function*() {
        const fate = fates[yield* random.nextIntBetween(0, fates.length)] ?? "owner"
        const life = fate === "end" ? yield* random.nextRange(0, 0.03) : Judge.longLife
        const wrapper = yield* Judge.start(site, life, options)
        yield* end(wrapper, fate, random)
        const { code, signal, stderr } = yield* wrapper.ended
        const state = stateOf(stderr)
        if (state !== "it waited") acquired += 1
        if (state === "its command ran") commands += 1
        if (acquired >= rounds) yield* Deferred.succeed(over, undefined)
        const death = fate === "anytime" || fate === "owner" ? `wrapper, while ${state}` : fate
        deaths[death] = (deaths[death] ?? 0) + 1
        if ((signal ?? code) === expected[fate]) return
        failures.push(`${fate}: ended by ${signal ?? code}: ${stderr}`)
        yield* Deferred.succeed(over, undefined)
      }))
    const lane = (number: number) => {
      const random = Random.make(`${drawn}/${number}`)
      return Effect.forever(turn(random))
    }

    const others = beside.map((turn, number) => Effect.forever(turn(site, Random.make(`${drawn}/beside/${number}`))))

    yield* Effect.raceFirst(
      Effect.all([...Array.makeBy(contenders, lane), ...others], { concurrency: "unbounded", discard: true }),
      Effect.timeoutOption(Deferred.await(over), atMost)
    )
    const seconds = ((yield* Clock.currentTimeMillis) - startedAt) / 1000
    return {
      seed: drawn,
      seconds,
      rounds: acquired,
      commands,
      deaths,
      accusations: yield* Judge.accusations(site),
      failures
    }
  })

/** The result of a storm as text. */
export const describe = (name: string, storm: Storm): string =>
  [
    `exec, ${name}: ${storm.rounds} rounds in ${
      storm.seconds.toFixed(1)
    } s, ${storm.commands} commands ran, seed ${storm.seed}`,
    ...Object.entries(storm.deaths).toSorted().map(([death, count]) => `${String(count).padStart(7)}  ${death}`),
    ...storm.accusations.split("\n").filter((line) => line !== "").map((line) => `  two at once: ${line}`),
    ...storm.failures.slice(0, 5)
  ].join("\n")

/** Checks that no two commands ran at one time, and that each wrapper ended as the storm made it end. */
export const assertHeld = ({ accusations, failures }: Storm): void =>
  assert.deepStrictEqual({ accusations, failures }, { accusations: "", failures: [] })
