import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"

describe("a start after a crash", () => {
  it.scopedLive("takes the lock over at once, says so in one line, and leaves only its own files", () =>
    Effect.gen(function*() {
      const [site, first] = yield* Gateways.newGateway()
      const before = yield* Gateways.readRecord(Gateways.configLock(site))
      const killed = yield* Gateways.stop(first, "SIGKILL")
      assert.strictEqual(killed.signal, "SIGKILL")
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))

      const second = yield* Gateways.within("15 seconds", Gateways.startListening(site))
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
      for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
        const { instanceId, phase, pid } = yield* Gateways.readRecord(path)
        assert.deepStrictEqual({ pid, phase }, { pid: second.pid, phase: "listening" })
        assert.notStrictEqual(instanceId, before.instanceId)
        assert.strictEqual(instanceId, yield* Clients.instanceIdOf(site))
        assert.strictEqual(yield* Gateways.modeOf(path), "600")
      }

      const ended = yield* Gateways.stop(second)
      yield* Gateways.assertGone(site, ended)
      assert.strictEqual(Gateways.count(ended.stderr, /reclaimed gateway lock/), 1, ended.stderr)
      assert.match(ended.stderr, new RegExp(`reclaimed gateway lock .*pid ${first.pid} since ${before.createdAt}`))
      assert.strictEqual(Gateways.count(ended.stderr, /waiting/), 0, ended.stderr)
    }))

  it.scopedLive("works ten times in a row", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      for (let crash = 0; crash < 10; crash++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const gateway = yield* Gateways.startListening(site)
          assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
          const { stderr } = yield* Gateways.stop(gateway, "SIGKILL")
          assert.strictEqual(Gateways.count(stderr, /reclaimed gateway lock/), crash === 0 ? 0 : 1, stderr)
        }))
      }
    }))

  it.scopedLive("with other connections to the dead one still open takes the port over", () =>
    Effect.gen(function*() {
      const [site, first] = yield* Gateways.newGateway()
      const control = yield* Clients.greeted(site)
      const connection = yield* Clients.connect(site)
      yield* Gateways.stop(first, "SIGKILL")
      assert.strictEqual((yield* control.closed).code, 1006)
      yield* connection.closed
      yield* Gateways.within("15 seconds", Gateways.startListening(site))
    }))

  it.scopedLive("does not take over from an owner that is only stopped", () =>
    Effect.gen(function*() {
      const [site, first] = yield* Gateways.newGateway()
      yield* first.signal("SIGSTOP")
      const other = yield* Gateways.onAnotherPort(site)
      const second = yield* Gateways.run(other, { flags: ["--lock-timeout", "400 millis"] })
      const [waiting, ...rest] = second.stderr.split("\n")
      assert.match(waiting ?? "", new RegExp(`waiting up to 400ms for gateway lock .*pid ${first.pid} \\(listening\\)`))
      Gateways.assertRefused(
        { ...second, stderr: rest.join("\n") },
        `gateway already running (pid ${first.pid}); lock timeout after 400ms`
      )
      yield* first.signal("SIGCONT")
      assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).pid, first.pid)
      yield* Gateways.assertGone(site, yield* Gateways.stop(first))
    }))

  it.scopedLive("waits for an owner that ends within the lock timeout, and takes over", () =>
    Effect.gen(function*() {
      const [site, first] = yield* Gateways.newGateway()
      yield* first.signal("SIGSTOP")
      const other = yield* Gateways.onAnotherPort(site)
      const second = yield* Gateways.start(other, { flags: ["--lock-timeout", "15 seconds"] })
      yield* second.line(/waiting up to 15000ms for gateway lock/)
      yield* Gateways.stop(first, "SIGKILL")
      yield* second.listening
      assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).pid, second.pid)
    }))
})
