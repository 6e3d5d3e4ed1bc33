/**
 * What `status` says of leaders and candidates, on simulated hosts.
 */
import { assert, describe } from "@effect/vitest"
import { DateTime, Effect, Fiber, Option } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import type { GatewayStatus } from "../../src/inspect/GatewayStatus.ts"
import * as Leadership from "../../src/leader/Leadership.ts"
import type * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import { address, adjust, lease, pair } from "../fixtures/leading.ts"
import { simulated } from "../fixtures/simulated.ts"

/** The lease that the status of a leader shows, with its times. */
const leaseOf = ({ lease }: GatewayStatus) => {
  const { renewedAt, trustedUntil } = lease ?? {}
  if (lease === undefined || renewedAt === undefined || trustedUntil === undefined) {
    return assert.fail(`no lease with times: ${JSON.stringify(lease)}`)
  }
  return { ...lease, renewedAt, trustedUntil }
}

describe("Gateway.inspect, with a lease", () => {
  simulated(
    "the record says who leads, by when it stops, and who stands by",
    () =>
      Effect.gen(function*() {
        const { leader, one, store, two } = yield* pair()
        const { fencingToken } = Option.getOrThrow(store.lease(lease))
        const look = (host: SimulatedHost.SimulatedHost) =>
          Effect.gen(function*() {
            const asked = yield* Effect.fork(Effect.provide(Gateway.inspectPlatform(), host.layer()))
            yield* host.settle
            yield* adjust(1)
            return yield* Fiber.join(asked)
          })
        const standby = yield* look(two)
        assert.deepStrictEqual(
          [standby.verdict, standby.reason, standby.owner?.phase],
          ["standby", "its owner is healthy and waits to lead reports", "listening"]
        )
        const { location } = yield* Effect.provide(Leadership.LeaseStore.LeaseStore, store.link("three").layer)
        assert.deepStrictEqual(standby.lease, { name: lease, store: location, state: "standby" })

        const led = yield* look(one)
        assert.deepStrictEqual(
          [led.verdict, led.reason],
          ["running", "the owner of the lock answers and is healthy, and leads reports"]
        )
        const first = leaseOf(led)
        assert.deepInclude(first, { name: lease, state: "leader", fencingToken: String(fencingToken) })
        // The defaults: it stops 10 seconds after the last renewal, which was at most 3 seconds ago.
        assert.strictEqual(DateTime.distance(first.renewedAt, first.trustedUntil), 10_000)
        assert.isBelow(DateTime.distance(first.renewedAt, yield* DateTime.now), 4000)
        yield* adjust(3)
        const second = leaseOf(yield* look(one))
        assert.isAtLeast(DateTime.distance(first.renewedAt, second.renewedAt), 3000)

        // A stopped leader does not answer, and its record says that it should have stopped.
        yield* leader.freeze
        yield* adjust(12)
        const frozen = yield* look(one)
        assert.strictEqual(frozen.verdict, "unhealthy")
        assert.isTrue(DateTime.lessThan(leaseOf(frozen).trustedUntil, yield* DateTime.now))
        yield* leader.resume
      })
  )

  simulated(
    "a leader that has lost its leadership drains, and says so",
    () =>
      Effect.gen(function*() {
        const { leader, one, store } = yield* pair()
        yield* Effect.fork(one.ports.get(address, "/never"))
        yield* one.settle
        yield* store.link("one").cut()
        yield* adjust(10.5)
        const lost = yield* Effect.provide(Gateway.inspectPlatform(), one.layer())
        assert.deepStrictEqual([lost.verdict, lost.lease?.state, lost.lease?.trustedUntil], [
          "draining",
          "lost",
          undefined
        ])
        yield* adjust(4)
        assert.isFalse(leader.isRunning())
      })
  )
})
