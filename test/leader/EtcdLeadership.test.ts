/**
 * `Leadership` over a real etcd, with several candidates in one process. The times are so long that whatever happens here happens by a
 * hint. `test/hosts` has what takes the time of a lease.
 */
import { FetchHttpClient } from "@effect/platform"
import { assert, describe } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Layer, Scope } from "effect"
import * as EtcdLeaseStore from "../../src/leader/EtcdLeaseStore.ts"
import * as Leadership from "../../src/leader/Leadership.ts"
import { LeaseStore } from "../../src/leader/LeaseStore.ts"
import * as Etcd from "../fixtures/etcd.ts"
import { within } from "../fixtures/net.ts"
import { unless } from "../fixtures/skips.ts"
import { acquire, claimOf } from "./leaseStoreContract.ts"

const test = unless(Etcd.noEtcd)

const lease: Leadership.LeaseOptions = {
  name: "reports",
  duration: "20 minutes",
  renewInterval: "2 minutes",
  attemptTimeout: "1 minute",
  renewDeadline: "10 minutes",
  stopTimeout: "1 minute"
}

const storeOf = ({ url }: Etcd.Etcd) =>
  Layer.provide(EtcdLeaseStore.layerEtcd({ url, attemptTimeout: "1 minute" }), FetchHttpClient.layer)

/** A server with a lease that was released, so that the first candidate need not wait. */
const start = Effect.gen(function*() {
  const etcd = yield* Etcd.start()
  const store = Context.get(yield* Layer.build(storeOf(etcd)), LeaseStore)
  yield* store.release(yield* acquire(store, claimOf("reports")))
  return { etcd, store }
})

/** A candidate that leads until it ends. */
const host = (etcd: Etcd.Etcd) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    const led = yield* Deferred.make<Leadership.Leadership["Type"]>()
    const renewedAt = new Set<bigint>()
    const onChange = (state: Leadership.LeadershipState) =>
      Effect.sync(() => {
        if (state._tag === "Leader") renewedAt.add(state.renewedAt)
      })
    yield* Layer.buildWithScope(storeOf(etcd), scope).pipe(
      Effect.flatMap((context) => Effect.provide(Scope.extend(Leadership.make({ lease, onChange }), scope), context)),
      Effect.tap((leader) => Deferred.succeed(led, leader)),
      Effect.forkIn(scope)
    )
    return {
      leads: Effect.orDie(within("a leader")(Deferred.await(led))),
      isLeader: Deferred.isDone(led),
      /** Ends it as a process ends: it releases its lease. */
      end: Scope.close(scope, Exit.void),
      /** How many statements have renewed its lease, the first one being the grant. */
      renewals: () => renewedAt.size
    }
  })

describe("leadership by a lease in etcd", () => {
  test.scopedLive("passes on at once when the leader ends, without waiting for the next look", () =>
    Effect.gen(function*() {
      const { etcd } = yield* start
      const one = yield* host(etcd)
      const first = yield* one.leads
      const other = yield* host(etcd)
      yield* Effect.sleep("300 millis")
      assert.isFalse(yield* other.isLeader)
      // Neither the own grant nor a renewal is a hint to renew again.
      assert.strictEqual(one.renewals(), 1)
      yield* one.end
      const second = yield* other.leads
      assert.isTrue(first.fencingToken < second.fencingToken)
    }))

  test.scopedLive("is lost at once when the etcd lease is revoked by hand", () =>
    Effect.gen(function*() {
      const { etcd } = yield* start
      const { lost } = yield* (yield* host(etcd)).leads
      const session = {
        key: Etcd.base64("gateway-lock/reports/session/"),
        range_end: Etcd.base64("gateway-lock/reports/session0")
      }
      const { kvs } = yield* etcd.post("kv/range", session)
      yield* etcd.post("lease/revoke", { ID: Object(Array.isArray(kvs) ? kvs[0] : undefined).lease })
      assert.include((yield* within("the loss")(Effect.flip(lost))).message, "it was deleted or released")
    }))

  test.scopedLive("has one leader among ten candidates, and the next one as soon as that one resigns", () =>
    Effect.gen(function*() {
      const { etcd, store } = yield* start
      const hosts = yield* Effect.all(Array.from({ length: 10 }, () => host(etcd)), { concurrency: "unbounded" })
      const tokens: Array<bigint> = []
      const left = new Set(hosts)
      for (let round = 0; round < 3; round++) {
        const leader = yield* Effect.raceAll([...left].map((one) => Effect.as(one.leads, one)))
        const { fencingToken, lost } = yield* leader.leads
        assert.lengthOf(yield* Effect.filter([...left], (one) => one.isLeader), 1)
        tokens.push(fencingToken)
        assert.isTrue(yield* store.requestResign("reports", fencingToken))
        const { message } = yield* within("the end of the leadership")(Effect.flip(lost))
        assert.include(message, "asked the leader to hand over")
        yield* leader.end
        left.delete(leader)
      }
      assert.deepStrictEqual(tokens, tokens.toSorted((one, other) => one < other ? -1 : 1))
    }))
})
