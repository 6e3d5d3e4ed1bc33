/**
 * What the status feed sends of a lease, on simulated hosts.
 */
import { assert, describe } from "@effect/vitest"
import { Effect, Queue, Schema } from "effect"
import { StatusFrame } from "../../src/page/StatusFrame.ts"
import type * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import { address, adjust, lease, pair } from "../fixtures/leading.ts"
import { simulated } from "../fixtures/simulated.ts"

const decode = Schema.decodeUnknown(Schema.parseJson(StatusFrame), { onExcessProperty: "error" })

/** Watches a gateway. `frames` returns the frames since its last call. */
const watch = (host: SimulatedHost.SimulatedHost) =>
  Effect.gen(function*() {
    const socket = yield* host.ports.connect(address)
    yield* Queue.take(socket.frames)
    yield* socket.send("{\"type\":\"watch\"}")
    const frames = Effect.gen(function*() {
      yield* host.settle
      const all = [...yield* Queue.takeAll(socket.frames)].filter((frame) => frame.includes("\"type\":\"status\""))
      return yield* Effect.forEach(all, (frame) => decode(frame))
    })
    return { frames }
  })

describe("the feed of a gateway with a lease", () => {
  simulated("sends renewals of a leader every two seconds, and a takeover at once", () =>
    Effect.gen(function*() {
      const { leader, one, two } = yield* pair()
      const [led, waits] = [yield* watch(one), yield* watch(two)]
      const [first] = yield* led.frames
      assert.deepInclude(first?.lease, { name: lease, state: "leader" })
      assert.isDefined(first?.lease?.trustedUntil)
      const [waiting] = yield* waits.frames
      assert.deepStrictEqual([waiting?.lease?.state, waiting?.phase], ["standby", "listening"])
      yield* adjust(4.1)
      const renewals = (yield* led.frames).map(({ lease }) => lease?.renewedAt?.epochMillis)
      assert.lengthOf(renewals, 2)
      assert.isAbove(renewals[1] ?? 0, first?.lease?.renewedAt?.epochMillis ?? 0)
      yield* waits.frames
      yield* Effect.fork(leader.terminate)
      yield* adjust(0.2)
      const after = (yield* waits.frames).at(-1)
      assert.strictEqual(after?.lease?.state, "leader")
      assert.deepStrictEqual(after?.history.map(({ kind }) => kind), [
        "starting",
        "locked",
        "standby",
        "listening",
        "leading"
      ])
    }))

  simulated("says why a leader drains that has lost its leadership", () =>
    Effect.gen(function*() {
      const { one, store } = yield* pair()
      const led = yield* watch(one)
      yield* Effect.fork(one.ports.get(address, "/never"))
      yield* one.settle
      yield* store.link("one").cut()
      yield* adjust(10.5)
      const last = (yield* led.frames).at(-1)
      assert.deepStrictEqual([last?.phase, last?.shutdownReason, last?.lease?.state], [
        "draining",
        "leadership lost",
        "lost"
      ])
      assert.deepStrictEqual(last?.history.map(({ kind }) => kind).slice(-2).toSorted(), [
        "draining",
        "leadership-lost"
      ])
    }))
})
