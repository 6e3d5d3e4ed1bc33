/**
 * Runs the storm for a few seconds: many processes acquire and release a lock, and some are killed. Each process that is granted
 * the lock also takes a second lock, the witness. If another process already holds the witness, two processes hold the lock at one
 * time.
 *
 * `test/chaos/storm.chaos.ts` runs the storm for minutes.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Storm from "../chaos/support/storm.ts"
import { osLock } from "../chaos/support/witness.ts"
import * as Gateways from "../e2e/support/gateways.ts"
import { run } from "../fixtures/processes.ts"
import { notLinux, unless } from "../fixtures/skips.ts"

const brief = (contender: Storm.StormOptions["contender"], acquisitions: number, atMost: `${number} seconds`) =>
  Storm.run({ contender, acquisitions, atLeast: 0, atMost, killsPerThousand: 250, pollMillis: 100 })

const lowAndHigh = fileURLToPath(new URL("../chaos/support/lowAndHigh.cjs", import.meta.url))
/**
 * Kills a process that holds two locks, one under a low descriptor and one under a high one. Returns which lock became free first,
 * as far as polling can tell: `low`, `high`, `both` (no difference was seen) or `neither` (no lock became free in time).
 */
const dropped = (folder: string) =>
  Effect.gen(function*() {
    const paths = [Path.join(folder, "low"), Path.join(folder, "high")] as const
    const holder = yield* run(process.execPath, [lowAndHigh, ...paths])
    yield* holder.line
    const addon = osLock()
    const [low, high] = [Fs.openSync(paths[0], "r+"), Fs.openSync(paths[1], "r+")]
    const isFree = (fd: number) => {
      const free = addon.tryLock(fd)
      if (free) addon.unlock(fd)
      return free
    }
    // The kernel releases the two locks one shortly after the other. So the loop runs synchronously, without other tasks between
    // its looks.
    const first = yield* Effect.sync(() => {
      process.kill(holder.pid, "SIGKILL")
      for (let looks = 0; looks < 1_000_000; looks++) {
        const highBefore = isFree(high)
        const lowNow = isFree(low)
        const highAfter = isFree(high)
        if (highBefore && !lowNow) return "high"
        if (lowNow && !highAfter) return "low"
        if (lowNow && highAfter) return "both"
      }
      return "neither"
    })
    yield* holder.ended
    Fs.closeSync(low)
    Fs.closeSync(high)
    return first
  }).pipe(Effect.scoped)

describe("the witness of a storm", () => {
  unless(notLinux).scopedLive(
    "is under a higher descriptor, which the kernel lets go first when the holder is killed",
    () =>
      Effect.gen(function*() {
        const folder = yield* Gateways.temporaryFolder
        const seen = yield* Effect.replicateEffect(dropped(folder), 10)
        assert.notInclude(seen, "low")
        assert.notInclude(seen, "neither")
      })
  )

  it.scopedLive("accuses nobody under a lock that is right, whose holders are killed", () =>
    Effect.gen(function*() {
      const seen = yield* brief("os-lock", 40, "60 seconds")
      assert.deepStrictEqual(seen.violations, [], Storm.describe(seen))
    }), 120_000)

  it.scopedLive("accuses those who have no lock", () =>
    Effect.gen(function*() {
      const seen = yield* brief("none", 40, "60 seconds")
      assert.isAbove(seen.refused, 0, Storm.describe(seen))
    }), 120_000)
})

describe("in a short storm of deaths and releases", () => {
  for (const contender of ["kernel", "blocking", "record"] as const) {
    it.scopedLive(`no two acquisitions overlap, kept apart by the ${contender}`, () =>
      Effect.gen(function*() {
        const seen = yield* brief(contender, 40, "150 seconds")
        assert.deepStrictEqual(seen.violations, [], Storm.describe(seen))
        assert.deepStrictEqual(seen.failures, [], Storm.describe(seen))
        assert.isAtLeast(seen.acquisitions, 40)
        assert.isAbove(seen.killed, 0)
      }), 200_000)
  }
})
