import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Gateways from "./support/gateways.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"
import * as Shims from "./support/shims.ts"
import * as Variants from "./support/variants.ts"

describe.skipIf(Shims.noShims !== undefined)(
  Program.named("a wall clock that is stepped by a day", Shims.noShims),
  () => {
    for (const [direction, seconds] of Shims.steps) {
      it.scopedLive(`${direction}, steps for Node, and its monotonic clock does not`, () =>
        Effect.gen(function*() {
          const clock = yield* Shims.wallClock(0)
          const script = `
          const began = { wall: Date.now(), monotonic: performance.now() }
          console.error("ready")
          setInterval(() => {
            const [wall, monotonic] = [Date.now() - began.wall, performance.now() - began.monotonic]
            if (Math.abs(wall) > 1e6) {
              console.error("stepped", Math.round((wall - monotonic) / 1e5), monotonic < 1e5)
              process.exit(0)
            }
          }, 5)`
          const options = { cwd: process.cwd(), env: { PATH: Program.searchPath, ...clock.env } }
          const program = yield* Processes.start([process.execPath, "-e", script], options)
          yield* program.line(/^ready$/)
          yield* clock.step(seconds)
          assert.strictEqual(yield* program.line(/^stepped/), `stepped ${seconds / 100} true`)
        }))

      Variants.each(
        `${direction} for a starter, makes no living owner stale, and no dead one immortal`,
        undefined,
        (main) =>
          Effect.gen(function*() {
            const site = yield* Gateways.newSite
            yield* Gateways.writeConfig(site, Gateways.impatient)
            const { env } = yield* Shims.wallClock(seconds)
            const owner = yield* Gateways.startListening(site, { main })
            // SIGSTOP pauses the owner, so it answers no probe. The second start can judge only by the kernel lock, the record
            // in the lock file and the process table whether the owner lives.
            yield* owner.signal("SIGSTOP")
            const before = yield* Gateways.lockIdentities(site)
            const other = yield* Gateways.onAnotherPort(site)
            const refused = yield* Gateways.run(other, { main, env, flags: Gateways.hurried })
            Gateways.assertWaitedInVain(refused, owner.pid)
            // The message shows how long ago the owner started only if that time is in the past by the second start's clock.
            assert.match(
              Gateways.facts(refused)["since"] ?? "",
              seconds > 0 ? /^[\dTZ:.-]+ \(1d(?: \d+s)? ago\)$/ : /^[\dTZ:.-]+$/
            )
            assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)

            yield* Gateways.stop(owner, "SIGKILL")
            const next = yield* Gateways.startListening(other, { main, env })
            assert.approximately(
              yield* Shims.fromNow((yield* Gateways.readRecord(Gateways.configLock(site))).createdAt),
              seconds,
              3600
            )
            const ended = yield* Gateways.stop(next)
            yield* Gateways.assertGone(other, ended)
            // If the clock of the new start is set back by a day, the time of the lock file is in the future by this clock. The
            // message then shows how far in the future it is: a little less than a day.
            const touched = seconds > 0 ? "1d(?: \\d+s)? ago" : "23h 59m \\d+s ahead of this clock"
            Gateways.assertReclaimedOnce(
              ended,
              new RegExp(`left by pid ${owner.pid} since .*, last touched ${touched}: `)
            )
            assert.strictEqual(Gateways.count(ended.stderr, /waiting/), 0, ended.stderr)
          })
      )
    }
  }
)
