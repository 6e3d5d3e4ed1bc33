import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Program from "../e2e/support/program.ts"
import * as Shims from "../e2e/support/shims.ts"
import * as Strangers from "../e2e/support/strangers.ts"
import * as Variants from "../e2e/support/variants.ts"

/** Measures the duration of an effect with the clock of the test process. The tests step only the clocks of gateways. */
const timed = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const began = yield* Clock.currentTimeNanos
    const result = yield* self
    return { result, seconds: Number((yield* Clock.currentTimeNanos) - began) / 1e9 }
  })

describe.skipIf(Shims.noShims !== undefined)(
  Program.named("a wall clock that is stepped by a day", Shims.noShims),
  // The tests mostly wait, so they can run concurrently.
  { concurrent: true },
  () => {
    for (const [direction, seconds] of Shims.steps) {
      Variants.each(
        `${direction} for an owner, harms neither it nor its successor`,
        undefined,
        (main) =>
          Effect.gen(function*() {
            const site = yield* Gateways.newSite
            yield* Gateways.writeConfig(site, Gateways.impatient)
            const clock = yield* Shims.wallClock(0)
            const owner = yield* Gateways.startListening(site, { main, env: clock.env })
            yield* clock.step(seconds)
            const other = yield* Gateways.onAnotherPort(site)
            Gateways.assertRefused(
              yield* Gateways.run(other, { main }),
              `gateway already running (pid ${owner.pid}) on ${Gateways.url(site)}`
            )
            const replaced = yield* Gateways.stop(owner)
            yield* Gateways.assertGone(site, replaced)

            // This gateway starts after the step, so the records in its lock files have a date of the stepped clock. The kernel does
            // not see that clock, so the times of the files are real. The test sets them to the date in the record, because
            // after a step of the kernel's clock they would agree.
            const dated = yield* Gateways.startListening(site, { main, env: clock.env })
            const { createdAt } = yield* Gateways.readRecord(Gateways.configLock(site))
            assert.approximately(yield* Shims.fromNow(createdAt), seconds, 3600)
            const then = Date.parse(createdAt) / 1000
            yield* Effect.promise(async () => {
              for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
                await Fs.utimes(path, then, then)
              }
            })
            yield* dated.signal("SIGSTOP")
            const before = yield* Gateways.lockIdentities(site)
            Gateways.assertWaitedInVain(yield* Gateways.run(other, { main, flags: Gateways.hurried }), dated.pid)
            assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)
            yield* Gateways.stop(dated, "SIGKILL")
            const ended = yield* Gateways.stop(yield* Gateways.startListening(other, { main }))
            yield* Gateways.assertGone(other, ended)
            Gateways.assertReclaimedOnce(
              ended,
              new RegExp(
                `left by pid ${dated.pid} since ${createdAt}, last touched [0-9dhms ]+ ${
                  direction === "forward" ? "ahead of this clock" : "ago"
                }: `
              )
            )
            assert.strictEqual(Gateways.count(ended.stderr, /waiting/), 0, ended.stderr)
          })
      )

      it.scopedLive(`${direction} in the middle of a wait for the lock, neither cuts nor stretches it`, () =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          yield* Gateways.writeConfig(site, Gateways.impatient)
          const clock = yield* Shims.wallClock(0)
          const owner = yield* Gateways.startListening(site)
          yield* owner.signal("SIGSTOP")
          const other = yield* Gateways.onAnotherPort(site)
          const { result, seconds: took } = yield* timed(Effect.gen(function*() {
            const waiting = yield* Gateways.start(other, { env: clock.env, flags: ["--lock-timeout", "1500 millis"] })
            yield* waiting.line(/waiting up to 1500ms for gateway lock/)
            yield* clock.step(seconds)
            return yield* waiting.ended
          }))
          assert.include(result.stderr, `gateway already running (pid ${owner.pid}); lock timeout after 1500ms\n`)
          assert.isAtLeast(took, 1.5)
          assert.isBelow(took, 25)
        }))

      it.scopedLive(`${direction} between health retries, neither cuts nor stretches them`, () =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          yield* Gateways.writeConfig(site, {
            // The start logs that it waits for the owner of the port only after two health probes got no answer. With these times,
            // both probes fail before `timeout` ends. So the test sees the log line in time to step the clock.
            health: { probeTimeout: "200 millis", retryInterval: "1 seconds", timeout: "2 seconds" }
          })
          yield* Strangers.stalling(site)
          const clock = yield* Shims.wallClock(0)
          const { result, seconds: took } = yield* timed(Effect.gen(function*() {
            const waiting = yield* Gateways.start(site, { env: { ...clock.env, GATEWAY_SUPERVISOR: "external" } })
            yield* waiting.line(/waiting up to 2s for the owner/)
            yield* clock.step(seconds)
            return yield* waiting.ended
          }))
          assert.include(result.stderr, "existing gateway did not become healthy after 2000ms\n")
          assert.strictEqual(result.code, 1)
          assert.isAtLeast(took, 2)
          assert.isBelow(took, 25)
        }))
    }
  }
)
