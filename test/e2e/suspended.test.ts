import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Variants from "./support/variants.ts"

describe("an owner that is suspended", () => {
  Variants.each(
    "keeps port and lock against all that come, and serves on when continued",
    undefined,
    (main) =>
      Effect.gen(function*() {
        const [site, owner] = yield* Gateways.newGateway({ main })
        const { instanceId } = yield* Gateways.readRecord(Gateways.configLock(site))
        const control = yield* Clients.greeted(site)
        const before = yield* Gateways.lockIdentities(site)
        const other = yield* Gateways.onAnotherPort(site)
        yield* owner.signal("SIGSTOP")

        const comers = yield* Effect.forEach(
          [site, other, site, other],
          (at) => Gateways.run(at, { main, flags: Gateways.hurried }),
          { concurrency: "unbounded" }
        )
        for (const [index, comer] of comers.entries()) {
          if (index % 2 === 1) Gateways.assertWaitedInVain(comer, owner.pid)
          else {
            Gateways.assertRefused(comer, `another gateway instance is already listening on ${Gateways.url(site)}`)
            assert.strictEqual(Gateways.facts(comer)["held by"], `pid ${owner.pid} (node)`)
          }
        }

        yield* owner.signal("SIGCONT")
        assert.strictEqual(yield* Clients.instanceIdOf(site), instanceId)
        yield* control.send(`{"type":"ping","id":1}`)
        assert.deepStrictEqual(yield* control.next, { type: "pong", id: 1 })
        assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)
        yield* Gateways.assertGone(site, yield* Gateways.stop(owner))
      })
  )

  Variants.each(
    "is found serving by one that waits, as soon as it is continued",
    undefined,
    (main) =>
      Effect.gen(function*() {
        const [site, owner] = yield* Gateways.newGateway({ main })
        yield* owner.signal("SIGSTOP")
        const other = yield* Gateways.onAnotherPort(site)
        const waiting = yield* Gateways.start(other, { main, flags: ["--lock-timeout", "50 seconds"] })
        yield* waiting.line(/waiting up to 50000ms for gateway lock/)
        yield* owner.signal("SIGCONT")
        const { code, stderr } = yield* waiting.ended
        assert.strictEqual(code, 1, stderr)
        assert.include(
          stderr,
          `GatewayLockError: gateway already running (pid ${owner.pid}) on ${Gateways.url(site)}\n`
        )
        yield* Gateways.assertGone(site, yield* Gateways.stop(owner))
      })
  )
})
