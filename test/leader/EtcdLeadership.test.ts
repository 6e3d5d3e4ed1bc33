/**
 * `Leadership` over a real etcd, with several candidates in one process.
 */
import { FetchHttpClient } from "@effect/platform"
import { assert, describe } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Layer, Scope } from "effect"
import * as EtcdLeaseStore from "../../src/leader/EtcdLeaseStore.ts"
import * as Leadership from "../../src/leader/Leadership.ts"
import { LeaseStore } from "../../src/leader/LeaseStore.ts"
import * as Etcd from "../fixtures/etcd.ts"
import { within } from "../fixtures/net.ts"
import { unless } from "../fixtures/skips.ts"

const test = unless(Etcd.noEtcd)

/** In milliseconds. Short, but long enough for a machine on which all tests run at one time. */
const lease = {
  name: "reports",
  duration: 3600,
  renewInterval: 500,
  attemptTimeout: 1000,
  renewDeadline: 2600,
  stopTimeout: 600
}
const takeoverBound = lease.duration + lease.renewInterval + lease.attemptTimeout

interface Host {
  readonly leads: Effect.Effect<Leadership.Leadership["Type"]>
  readonly leadsAt: () => number
  /** Ends it as a process ends: it releases its lease. */
  readonly end: Effect.Effect<void>
  /** Loses everything that it sends from now on, as the link of a host does that has died. */
  readonly cut: Effect.Effect<void>
  readonly renewals: () => number
}

/** A candidate that leads until it ends. */
const host = (etcd: Etcd.Etcd) =>
  Effect.gen(function*() {
    let [isCut, leadsAt, renewals] = [false, 0, 0]
    const scope = yield* Scope.make()
    const led = yield* Deferred.make<Leadership.Leadership["Type"]>()
    const sent = <A, E>(statement: Effect.Effect<A, E>) => Effect.suspend(() => isCut ? Effect.never : statement)
    const Link = Layer.effect(
      LeaseStore,
      Effect.map(LeaseStore, (store): LeaseStore["Type"] => ({
        ...store,
        look: (name) => sent(store.look(name)),
        renew: (grant) => {
          renewals++
          return sent(store.renew(grant))
        },
        release: (grant) => sent(store.release(grant))
      }))
    )
    const Store = Layer.provide(EtcdLeaseStore.layerEtcd({ url: etcd.url }), FetchHttpClient.layer)
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    yield* Layer.buildWithScope(Layer.provide(Link, Store), scope).pipe(
      Effect.flatMap((context) => Effect.provide(Scope.extend(Leadership.make({ lease }), scope), context)),
      Effect.tap((leader) =>
        Effect.flatMap(Clock.currentTimeMillis, (time) => {
          leadsAt = time
          return Deferred.succeed(led, leader)
        })
      ),
      Effect.forkIn(scope)
    )
    const result: Host = {
      leads: Effect.orDie(within("a leader")(Deferred.await(led))),
      leadsAt: () => leadsAt,
      end: Scope.close(scope, Exit.void),
      cut: Effect.sync(() => {
        isCut = true
      }),
      renewals: () => renewals
    }
    return result
  })

describe("leadership by a lease in etcd", () => {
  test.scopedLive("passes on at once when the leader ends, and in time when it is cut off", () =>
    Effect.gen(function*() {
      const etcd = yield* Etcd.start()
      const one = yield* host(etcd)
      const first = yield* one.leads
      const other = yield* host(etcd)
      const before = one.renewals()
      yield* Effect.sleep("1500 millis")
      // No renewal is a hint to renew again.
      assert.isAtMost(one.renewals() - before, 6)
      const endsAt = yield* Clock.currentTimeMillis
      yield* one.end
      const second = yield* other.leads
      assert.isBelow(other.leadsAt() - endsAt, lease.renewInterval)
      assert.isTrue(first.fencingToken < second.fencingToken)

      const third = yield* host(etcd)
      yield* Effect.sleep("700 millis")
      const cutAt = yield* Clock.currentTimeMillis
      yield* other.cut
      const lost = yield* within("the loss")(Effect.flip(second.lost))
      const lostAt = yield* Clock.currentTimeMillis
      assert.match(lost.message, /it was not renewed within 2s 600ms/)
      const next = yield* third.leads
      assert.isAtLeast(third.leadsAt() - lostAt, lease.stopTimeout)
      assert.isAtMost(third.leadsAt() - cutAt, takeoverBound)
      assert.isTrue(second.fencingToken < next.fencingToken)
    }))

  test.scopedLive("has one leader among ten candidates, and the next one as soon as that one resigns", () =>
    Effect.gen(function*() {
      const etcd = yield* Etcd.start()
      const hosts = yield* Effect.all(Array.from({ length: 10 }, () => host(etcd)), { concurrency: "unbounded" })
      const tokens: Array<bigint> = []
      const left = new Set(hosts)
      for (let round = 0; round < 3; round++) {
        const leader = yield* Effect.raceAll([...left].map((one) => Effect.as(one.leads, one)))
        const { fencingToken, lost } = yield* leader.leads
        assert.lengthOf([...left].filter((one) => one.leadsAt() > 0), 1)
        tokens.push(fencingToken)
        const store = yield* Layer.build(
          Layer.provide(EtcdLeaseStore.layerEtcd({ url: etcd.url }), FetchHttpClient.layer)
        )
        const isAsked = yield* Effect.provide(
          Effect.flatMap(LeaseStore, ({ requestResign }) => requestResign(lease.name, fencingToken)),
          store
        )
        assert.isTrue(isAsked)
        const { message } = yield* within("the end of the leadership")(Effect.flip(lost))
        assert.include(message, "asked the leader to hand over")
        yield* leader.end
        left.delete(leader)
      }
      assert.deepStrictEqual(tokens, tokens.toSorted((one, other) => one < other ? -1 : 1))
    }))
})
