/**
 * A storm of four wrappers (`gateway exec`) and four owners in Python on one lock. The owners in Python are written from
 * `docs/protocol.md` alone (`test/fixtures/python`). All of them are killed, stopped or suspended at drawn moments.
 *
 * Each owner takes a second lock, the witness, which shows whether two owners ever lived at one time (`execJudge.ts`).
 */
import { assert } from "@effect/vitest"
import { Array, Effect, Option, type Random } from "effect"
import * as Path from "node:path"
import type * as Gateways from "../../e2e/support/gateways.ts"
import type * as Processes from "../../e2e/support/processes.ts"
import * as Python from "../../e2e/support/python.ts"
import * as Judge from "./execJudge.ts"
import * as ExecStorm from "./execStorm.ts"

/** Why this machine cannot run the storm; `undefined` if it can. */
export const unavailable = Judge.unavailable ?? Python.unavailable

/**
 * What ends an owner in Python:
 *
 * - `anytime`: SIGKILL at any moment after its start, whether it holds the lock or not.
 * - `owner`: SIGKILL soon after it got the lock.
 * - `suspended`: SIGSTOP soon after it got the lock, and SIGKILL a while later.
 * - `stop`: SIGTERM soon after it got the lock.
 * - `end`: it ends by itself.
 */
const fates = ["anytime", "owner", "owner", "owner", "suspended", "stop", "end"] as const

type Fate = (typeof fates)[number]

const expected: Readonly<Record<Fate, NodeJS.Signals | 0>> = {
  anytime: "SIGKILL",
  owner: "SIGKILL",
  suspended: "SIGKILL",
  stop: 0,
  end: 0
}

const pause = (random: Random.Random, millis: number) =>
  Effect.flatMap(random.nextRange(0, millis), (time) => Effect.sleep(time))

const end = (owner: Processes.Running, fate: Fate, random: Random.Random): Effect.Effect<void> =>
  Effect.gen(function*() {
    if (fate === "end") return
    if (fate === "anytime") yield* pause(random, 700)
    else {
      if (Option.isNone(yield* Judge.lineOf(owner, /^gateway listening on /))) return
      yield* pause(random, 30)
    }
    if (fate === "suspended") {
      yield* owner.signal("SIGSTOP")
      yield* pause(random, 150)
    }
    yield* owner.signal(fate === "stop" ? "SIGTERM" : "SIGKILL")
  })

export interface Storm extends ExecStorm.Storm {
  /** How often an owner in Python got the lock. */
  readonly python: number
}

/** Runs a storm until wrappers of `gateway exec` have had the lock `rounds` times. */
export const run = (options: Pick<ExecStorm.StormOptions, "main" | "rounds" | "atMost">) =>
  Effect.gen(function*() {
    let python = 0
    const failures: Array<string> = []
    const turn = (site: Gateways.Site, random: Random.Random) =>
      Effect.scoped(Effect.gen(function*() {
        const fate = fates[yield* random.nextIntBetween(0, fates.length)] ?? "owner"
        const owner = yield* Python.hold(site, {
          flags: [
            "--port",
            "0",
            "--ready",
            "none",
            "--witness",
            Path.join(site.root, "witness"),
            "--lock-timeout",
            "7200",
            "--poll",
            "0.02",
            ...(fate === "end" ? ["--life", "0.02"] : [])
          ],
          patience: "2 hours"
        })
        yield* end(owner, fate, random)
        const { code, signal, stderr } = yield* owner.ended
        if (stderr.includes("gateway listening on ")) python += 1
        if ((signal ?? code) !== expected[fate]) failures.push(`${fate}: ended by ${signal ?? code}: ${stderr}`)
      }))
    const storm = yield* ExecStorm.run({ ...options, contenders: 4, beside: Array.makeBy(4, () => turn) })
    return { ...storm, python, failures: [...storm.failures, ...failures] }
  })

/**
 * A contender that makes the mistake that the page warns of: it locks the file by flock(2), which excludes no gateway. It then looks
 * for another owner in the same way as the others.
 */
const mistaken = `
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
witness = os.open("witness", os.O_RDWR)
try:
    fcntl.flock(witness, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    with open("two", "a") as two:
        two.write(f"{os.getpid()} ran beside another\\n")
`

/** Runs the mistaken contender beside an owner, until the judge accuses it. */
export const accuses = (site: Gateways.Site, lockPath: string) =>
  Effect.gen(function*() {
    const { ended } = yield* Python.script(site, ["-c", mistaken, lockPath])
    yield* ended
    assert.match(yield* Judge.accusations(site), /^\d+ ran beside another$/m)
  })

export const describe = (name: string, storm: Storm): string =>
  `${ExecStorm.describe(name, storm)}\n${String(storm.python).padStart(7)}  times an owner in Python`

/** Checks that no two owners lived at one time, that both kinds had the lock, and that each ended as the storm made it end. */
export const assertHeld = (storm: Storm): void => {
  ExecStorm.assertHeld(storm)
  assert.isAbove(storm.commands, 0)
  assert.isAbove(storm.python, 0)
}
