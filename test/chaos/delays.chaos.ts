/**
 * Delays one gateway at one of its system calls while another gateway starts. The two must never own the lock at the same time.
 *
 * The two gateways have the same state directory and the same config, but different ports. So the lock alone decides which of
 * them serves.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Gateways from "../e2e/support/gateways.ts"
import type * as Processes from "../e2e/support/processes.ts"
import * as Program from "../e2e/support/program.ts"
import * as Strace from "./support/strace.ts"
import * as Sweep from "./support/sweep.ts"

/**
 * How long a gateway is delayed in the first try, in milliseconds. The other gateway usually starts in less time. If it takes
 * longer on a busy machine, the test tries again with a longer delay.
 */
const delayMillis = 500

/**
 * How many runs go on at one time. Each run waits for about half of its time, so more than one run per core can go on.
 */
const lanes = 3

/**
 * Waits until the log of strace shows that the gateway has begun all calls before the call `point`. Returns `false` if the
 * gateway ends before that.
 */
const cameTo = (stage: Sweep.Stage, point: Strace.Point, gateway: Processes.Running): Effect.Effect<boolean> =>
  Effect.raceFirst(
    Effect.as(gateway.ended, false),
    Strace.readLog(Strace.logPath(stage.site)).pipe(
      Effect.repeat({ until: (calls) => calls.length >= point.index, schedule: Schedule.spaced("10 millis") }),
      Effect.as(true)
    )
  )

/** The number of open file descriptions that hold a kernel lock on the file at `path` (proc_locks(5)). */
const kernelLocksOn = (path: string) =>
  Effect.promise(async () => {
    const { ino } = await Fs.stat(path)
    const rows = (await Fs.readFile("/proc/locks", "utf8")).split("\n")
    return rows.filter((row) => / OFDLCK +ADVISORY +WRITE /.test(row) && row.includes(`:${ino} `)).length
  })

const assertHolds = (mode: Sweep.Mode, site: Gateways.Site, gateway: Processes.Running) =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
    yield* Sweep.assertOwns(site, gateway)
    for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
      assert.strictEqual(yield* kernelLocksOn(path), mode.name === "kernel lock" ? 1 : 0, path)
    }
  })

/**
 * Starts a gateway that is delayed at a system call of its start, and starts another gateway during the delay. Exactly one of the
 * two gateways may listen. The other gateway must end with the error that a gateway is already running.
 */
const holdUpStart = (stage: Sweep.Stage, point: Strace.Point) =>
  Effect.gen(function*() {
    const { main, mode, site } = stage
    const otherSite = yield* Gateways.onAnotherPort(site)
    for (let run = 1; run <= Sweep.tries; run++) {
      if (run > 1) yield* stage.reset
      const tamper: Strace.Tamper = { _tag: "Delay", millis: delayMillis * run }
      const outcome = yield* Effect.scoped(Effect.gen(function*() {
        const slow = yield* Sweep.startTraced(stage, point.filter, { point, tamper })
        if (!(yield* cameTo(stage, point, slow))) return "not reached"
        const quick = yield* Gateways.start(otherSite, { main })
        // This run counts only if the delay lasts until the other gateway listens, ends or waits for the lock. The log shows
        // whether the delayed gateway has made further calls by then.
        const quickListens = yield* Sweep.cameToListen(quick)
        const calls = yield* Strace.readLog(Strace.logPath(site))
        const waited = Gateways.count(yield* quick.stderr, /waiting up to/) > 0
        const inTime = waited || calls.length <= point.index + 1
        const slowListens = yield* Sweep.cameToListen(slow)
        assert.notStrictEqual(slowListens, quickListens, `${yield* slow.stderr}\n${yield* quick.stderr}`)

        const [winner, loser] = slowListens ? [slow, quick] : [quick, slow]
        const refused = yield* loser.ended
        assert.strictEqual(refused.code, 1, refused.stderr)
        assert.match(refused.stderr, /^GatewayLockError: gateway already running/m)
        const winnersSite = slowListens ? site : otherSite
        yield* assertHolds(mode, winnersSite, winner)
        yield* Gateways.assertGone(winnersSite, yield* Gateways.stop(winner))
        const hit = Strace.findHit(site, point, tamper, yield* Strace.readLog(Strace.logPath(site)))
        if (hit === undefined || !inTime) return "not reached"
        return `${slowListens ? "the slow one" : "the quick one"} serves, the other is refused`
      }))
      if (outcome !== "not reached") return outcome
    }
    return yield* Effect.dieMessage(`not held up in time in ${Sweep.tries} runs`)
  })

/**
 * Stops one gateway, delays it at a system call of its shutdown, and meanwhile starts another gateway. The other gateway may listen
 * only after the first gateway has closed its port. The first gateway must not remove the lock files of the other gateway.
 */
const holdUpRelease = (stage: Sweep.Stage, point: Strace.Point) =>
  Effect.gen(function*() {
    const { main, mode, site } = stage
    const otherSite = yield* Gateways.onAnotherPort(site)
    for (let run = 1; run <= Sweep.tries; run++) {
      if (run > 1) yield* stage.reset
      const tamper: Strace.Tamper = { _tag: "Delay", millis: delayMillis * run }
      const outcome = yield* Effect.scoped(Effect.gen(function*() {
        const slow = yield* Sweep.startTraced(stage, point.filter, { point, tamper })
        yield* slow.listening
        yield* slow.signal("SIGTERM")
        if (!(yield* cameTo(stage, point, slow))) return "not reached"
        const quick = yield* Gateways.startListening(otherSite, { main })
        yield* Sweep.assertPortFree(site)
        yield* Gateways.assertClean(yield* slow.ended)
        yield* assertHolds(mode, otherSite, quick)
        const waited = Gateways.count(yield* quick.stderr, /waiting up to/) > 0
        yield* Gateways.assertGone(otherSite, yield* Gateways.stop(quick))
        const hit = Strace.findHit(site, point, tamper, yield* Strace.readLog(Strace.logPath(site)))
        return hit === undefined ? "not reached" : `the next one serves${waited ? " after waiting" : ""}`
      }))
      if (outcome !== "not reached") return outcome
    }
    return yield* Effect.dieMessage(`not held up in ${Sweep.tries} runs`)
  })

describe("a gateway that is held up at any system call", () => {
  for (const mode of Sweep.modes) {
    const sweepPhase = (
      phase: Strace.Call["phase"],
      scene: Sweep.Scene,
      each: (stage: Sweep.Stage, point: Strace.Point) => Effect.Effect<string, never, Scope.Scope>
    ) =>
      Effect.gen(function*() {
        const main = yield* mode.main
        const watched = yield* Sweep.watch(yield* Sweep.makeStage(mode, main, scene), "files")
        const points = watched.filter((point) => point.phase === phase)
        assert.isNotEmpty(points)
        const results = yield* Sweep.sweep(
          points,
          Sweep.makeStage(mode, main, scene),
          (stage, point) => Sweep.result(`${point.label} #${point.ordinal}`, each(stage, point)),
          lanes
        )
        yield* Sweep.conclude(`delay points, ${mode.name}, ${phase} of ${scene}`, results)
      })

    it.scopedLive.skipIf(mode.unavailable !== undefined)(
      Program.named(`of a reclaim is alone with another that reclaims: ${mode.name}`, mode.unavailable),
      () => sweepPhase("start", "a start after a crash", holdUpStart)
    )
    it.scopedLive.skipIf(mode.unavailable !== undefined)(
      Program.named(`of a release leaves the next one's files alone: ${mode.name}`, mode.unavailable),
      () => sweepPhase("release", "a first start", holdUpRelease)
    )
  }
})
