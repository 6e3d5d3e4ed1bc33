/**
 * How a scan of `/proc` shares the event loop with the rest of the process.
 */
import { assert, it } from "@effect/vitest"
import { Clock, Duration, Effect, identity } from "effect"
import * as Fs from "node:fs"
import * as OpenLockFiles from "../../src/host/OpenLockFiles.ts"
import * as ProcFiles from "../../src/host/ProcFiles.ts"
import { notLinux, unless } from "../fixtures/skips.ts"

/** A clock that advances by a millisecond each time it is read, and by the length of each sleep. Records the sleeps. */
const steppingClock = () => {
  let now = 0
  const sleeps: Array<{ readonly at: number; readonly millis: number }> = []
  const real = Clock.make()
  const tick = () => BigInt(++now) * 1_000_000n
  const clock: Clock.Clock = {
    ...real,
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeNanos: tick,
    unsafeCurrentTimeMillis: () => ++now,
    currentTimeNanos: Effect.sync(tick),
    currentTimeMillis: Effect.sync(() => ++now),
    sleep: (duration) =>
      Effect.sync(() => {
        const millis = Duration.toMillis(duration)
        sleeps.push({ at: now, millis })
        now += millis
      })
  }
  return { clock, sleeps, now: () => now }
}

/** Opens a file of this package several times, until the scope closes. */
const open = (count: number) =>
  Effect.acquireRelease(
    Effect.sync(() => Array.from({ length: count }, () => Fs.openSync("package.json", "r"))),
    (files) => Effect.sync(() => files.forEach((file) => Fs.closeSync(file)))
  )

const pace = { reading: Duration.millis(4), pause: Duration.millis(76), turn: identity }

unless(notLinux).describe("a scan of /proc", () => {
  it.scoped("gives other fibers a turn within the open files of one process", () =>
    Effect.gen(function*() {
      yield* open(300)
      const { clock, now, sleeps } = steppingClock()
      const seen: Array<{ readonly at: number; readonly target: string }> = []
      const isWhole = yield* ProcFiles.scan({
        pids: [process.pid],
        file: (_, { target }) => {
          seen.push({ at: now(), target })
          return "more"
        },
        limit: Duration.minutes(1)
      }).pipe(Effect.provideService(ProcFiles.Pace, pace), Effect.withClock(clock))
      assert.isTrue(isWhole)
      assert.isAtLeast(seen.filter(({ target }) => target.endsWith("/package.json")).length, 300)
      // Each step reads the clock once, so a stretch of four milliseconds has at most four files.
      const turns = [0, ...sleeps.map(({ at, millis }) => at + millis)]
      const stretches = turns.map((began, turn) =>
        seen.filter(({ at }) => at >= began && at < (turns[turn + 1] ?? Infinity)).length
      )
      assert.isAtMost(Math.max(...stretches), 4)
      assert.isTrue(sleeps.every(({ millis }) => millis === 76))
    }))

  it.scoped("ends when its time is up, and does not count its pauses", () =>
    Effect.gen(function*() {
      yield* open(300)
      const run = (limit: number) =>
        ProcFiles.scan({ pids: [process.pid], file: () => "more", limit: Duration.millis(limit) }).pipe(
          Effect.provideService(ProcFiles.Pace, pace),
          Effect.withClock(steppingClock().clock)
        )
      assert.isFalse(yield* run(100))
      assert.isTrue(yield* run(10_000))
    }))

  it.scopedLive("ends at the first file that is enough, and leaves no folder open", () =>
    Effect.gen(function*() {
      yield* open(100)
      const count = () => Fs.readdirSync("/proc/self/fd").length
      const before = count()
      let reads = 0
      const file = () => {
        reads += 1
        return "enough" as const
      }
      yield* ProcFiles.scan({ pids: [process.pid], file, limit: Duration.seconds(1) })
      assert.strictEqual(reads, 1)
      assert.strictEqual(count(), before)
    }))

  it.scopedLive("finds nothing of a process that is gone, or of none at all", () =>
    Effect.gen(function*() {
      const found: Array<number> = []
      const file = (pid: number) => {
        found.push(pid)
        return "more" as const
      }
      assert.isTrue(yield* ProcFiles.scan({ pids: [4_194_305, -1], file, limit: Duration.seconds(1) }))
      assert.isTrue(yield* ProcFiles.scan({ pids: [], file, limit: Duration.seconds(1) }))
      assert.deepStrictEqual(found, [])
    }))

  it.scopedLive("finds an open lock file, whatever the pace", () =>
    Effect.gen(function*() {
      const folder = Fs.mkdtempSync("/tmp/gateway-lock-scan-")
      yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(folder, { recursive: true })))
      const path = `${folder}/locks/gateway.01234567.lock`
      Fs.mkdirSync(`${folder}/locks`)
      const file = Fs.openSync(path, "w")
      yield* Effect.addFinalizer(() => Effect.sync(() => Fs.closeSync(file)))
      const { paths } = yield* Effect.provide(
        OpenLockFiles.OpenLockFiles,
        OpenLockFiles.layerProc(process.getuid?.() ?? 0)
      )
      for (const reading of [0, 5]) {
        const open = yield* Effect.provideService(paths, ProcFiles.Pace, {
          reading: Duration.millis(reading),
          pause: Duration.zero,
          turn: identity
        })
        assert.include(open._tag === "Seen" ? open.paths : [open.reason], path)
      }
    }))
})
