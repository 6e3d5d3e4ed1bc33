import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"
import * as Storm from "./support/storm.ts"
import { bareProgram } from "./support/variants.ts"

const assertRecordOnly = (stderr: string) => {
  assert.strictEqual(Gateways.count(stderr, /no kernel lock/), 1, stderr)
  assert.match(stderr, /level=WARN .*no kernel lock for .*cannot load fs-native-extensions/)
}

describe("without kernel locks", () => {
  it.scopedLive("a gateway starts, and warns once", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const main = yield* bareProgram
      const gateway = yield* Gateways.startListening(site, { main })
      for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
        const { lock, phase, pid } = yield* Gateways.readRecord(path)
        assert.deepStrictEqual({ lock, phase, pid }, { lock: "record", phase: "listening", pid: gateway.pid })
        assert.strictEqual(yield* Gateways.modeOf(path), "600")
      }
      const ended = yield* Gateways.stop(gateway)
      assertRecordOnly(ended.stderr)
      yield* Gateways.assertGone(site, ended)
    }))

  it.scopedLive("a second start is refused, on the same port and on another", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const main = yield* bareProgram
      const first = yield* Gateways.startListening(site, { main })
      const before = yield* Gateways.identityOf(Gateways.configLock(site))
      const same = yield* Gateways.run(site, { main })
      Gateways.assertRefused(same, `another gateway instance is already listening on ${Gateways.url(site)}`)
      assert.strictEqual(Gateways.facts(same)["held by"], `pid ${first.pid} (node)`)
      const other = yield* Gateways.run(yield* Gateways.onAnotherPort(site), { main })
      Gateways.assertRefused(other, `gateway already running (pid ${first.pid}) on ${Gateways.url(site)}`)
      assert.deepStrictEqual(yield* Gateways.identityOf(Gateways.configLock(site)), before)
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
    }))

  it.scopedLive("a start after a crash takes over at once, and says why it may", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const main = yield* bareProgram
      const first = yield* Gateways.startListening(site, { main })
      yield* Gateways.stop(first, "SIGKILL")
      const second = yield* Gateways.within("15 seconds", Gateways.startListening(site, { main }))
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
      const ended = yield* Gateways.stop(second)
      yield* Gateways.assertGone(site, ended)
      assert.strictEqual(Gateways.count(ended.stderr, /reclaimed gateway lock/), 1, ended.stderr)
      assert.match(ended.stderr, new RegExp(`reclaimed gateway lock .*left by pid ${first.pid} since .*: owner gone`))
      assert.strictEqual(Gateways.count(ended.stderr, /waiting/), 0, ended.stderr)
    }))

  it.scopedLive("an owner that is only stopped is not taken for dead", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const main = yield* bareProgram
      const first = yield* Gateways.startListening(site, { main })
      yield* first.signal("SIGSTOP")
      const other = yield* Gateways.onAnotherPort(site)
      const { code, stderr } = yield* Gateways.run(other, { main, flags: ["--lock-timeout", "300 millis"] })
      assert.strictEqual(code, 1, stderr)
      assert.include(stderr, `GatewayLockError: gateway already running (pid ${first.pid}); lock timeout after 300ms\n`)
      yield* first.signal("SIGCONT")
      yield* Gateways.assertGone(site, yield* Gateways.stop(first))
    }))

  it.scopedLive(
    "8 simultaneous starts have exactly one winner, in each of 2 rounds",
    () => Effect.flatMap(bareProgram, (main) => Storm.rounds(2, 8, { main })),
    240_000
  )
})

describe("a gateway with kernel locks and one without", () => {
  const skipped = Program.kernelLocks ? undefined : "the program under test has no kernel locks"

  /**
   * Starts an owner from one variant of the program (with kernel locks or without), and returns the other variant for the
   * second start.
   */
  const mixed = (first: "with" | "without") =>
    Effect.gen(function*() {
      const bare = yield* bareProgram
      const [ownerMain, otherMain] = first === "with" ? [Program.main, bare] : [bare, Program.main]
      const [site, owner] = yield* Gateways.newGateway({ main: ownerMain })
      return { otherMain, owner, site }
    })

  for (const first of ["with", "without"] as const) {
    it.scopedLive.skipIf(skipped !== undefined)(
      Program.named(`do not take a living owner's lock from each other: first the one ${first}`, skipped),
      () =>
        Effect.gen(function*() {
          const { otherMain, owner, site } = yield* mixed(first)
          const before = yield* Gateways.identityOf(Gateways.configLock(site))

          const other = yield* Gateways.onAnotherPort(site)
          const refused = yield* Gateways.within("15 seconds", Gateways.run(other, { main: otherMain }))
          Gateways.assertRefused(refused, `gateway already running (pid ${owner.pid}) on ${Gateways.url(site)}`)

          // SIGSTOP pauses the owner, so the owner answers no probe. It must keep its lock in this case as well.
          yield* owner.signal("SIGSTOP")
          const late = yield* Gateways.run(other, { main: otherMain, flags: ["--lock-timeout", "300 millis"] })
          assert.strictEqual(late.code, 1, late.stderr)
          assert.include(late.stderr, `gateway already running (pid ${owner.pid}); lock timeout after 300ms\n`)
          yield* owner.signal("SIGCONT")

          assert.deepStrictEqual(yield* Gateways.identityOf(Gateways.configLock(site)), before)
          assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
          yield* Gateways.assertGone(site, yield* Gateways.stop(owner))
        })
    )

    it.scopedLive.skipIf(skipped !== undefined)(
      Program.named(`take a dead owner's lock from each other: first the one ${first}`, skipped),
      () =>
        Effect.gen(function*() {
          const { otherMain, owner, site } = yield* mixed(first)
          yield* Gateways.stop(owner, "SIGKILL")
          const next = yield* Gateways.within("15 seconds", Gateways.startListening(site, { main: otherMain }))
          assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
          const ended = yield* Gateways.stop(next)
          yield* Gateways.assertGone(site, ended)
          assert.strictEqual(Gateways.count(ended.stderr, /reclaimed gateway lock/), 1, ended.stderr)
        })
    )
  }
})
