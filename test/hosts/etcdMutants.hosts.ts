/**
 * Wrong versions of the store in etcd, with one mistake each. Each is found by a check on a real server, on which the unchanged
 * sources are clean.
 */
import { FetchHttpClient } from "@effect/platform"
import { assert } from "@effect/vitest"
import { Context, Duration, Effect, Either, FastCheck as fc, Fiber, Layer, Option, type Scope } from "effect"
import { randomUUID } from "node:crypto"
import { loadEtcd } from "virtual:mutants"
import { type Grant, LeaseStore, type Sighting, type StoreError } from "../../src/leader/LeaseStore.ts"
import * as SimulatedLeaseStore from "../../src/testing/SimulatedLeaseStore.ts"
import * as Etcd from "../fixtures/etcd.ts"
import { eventually, type TookTooLong, within } from "../fixtures/net.ts"
import { shared } from "../fixtures/sharedResource.ts"
import { unless } from "../fixtures/skips.ts"
import { acquire, claimOf } from "../leader/leaseStoreContract.ts"
import { answersOf, commands } from "../leader/leaseStoreModel.ts"
import { unchanged } from "../simulation/mutants.ts"
import { etcdMutants } from "./support/etcdMutants.ts"

type Store = LeaseStore["Type"]

interface Scene {
  readonly etcd: Etcd.Etcd
  readonly store: Store
}

type Check = (scene: Scene) => Effect.Effect<unknown, StoreError | Etcd.EtcdFailed | TookTooLong, Scope.Scope>

const seen = (store: Store, name: string): Effect.Effect<Sighting, StoreError> =>
  Effect.map(store.look(name), Option.getOrThrow)

const sessionOf = (etcd: Etcd.Etcd, { holderId, name }: Grant) =>
  Effect.map(
    etcd.post("kv/range", { key: Etcd.base64(`gateway-lock/${name}/session/${holderId}`) }),
    ({ kvs }) => Array.isArray(kvs) ? kvs[0] : undefined
  )

const comparesEachField: Check = ({ store }) =>
  Effect.gen(function*() {
    const name = randomUUID()
    const grant = yield* acquire(store, claimOf(name))
    yield* store.renew(grant)
    const sighting = yield* seen(store, name)
    const changes: ReadonlyArray<Partial<Sighting>> = [
      { renewals: 0n },
      { epoch: sighting.epoch - 1n },
      { fencingToken: sighting.fencingToken - 1n },
      { holderId: Option.some(randomUUID()) },
      { holderId: Option.none() }
    ]
    for (const change of changes) {
      assert.isTrue(Option.isNone(yield* store.acquire({ ...sighting, ...change }, claimOf(name))))
    }
    yield* store.release({ ...grant, fencingToken: grant.fencingToken - 1n })
    yield* store.release({ ...grant, holderId: randomUUID() })
    assert.deepStrictEqual((yield* seen(store, name)).holderId, Option.some(grant.holderId))
    yield* store.release(grant)
    assert.isTrue(Option.isNone((yield* seen(store, name)).holderId))
  })

/** Both stores answer drawn operations alike. */
const likeSimulated: Check = ({ store }) =>
  Effect.gen(function*() {
    for (const run of fc.sample(commands, { numRuns: 40, seed: 1 })) {
      const simulated = yield* SimulatedLeaseStore.make
      const ids = run.map(() => randomUUID())
      const expected = yield* answersOf([simulated.link("one").store, simulated.link("other").store], run, ids)
      assert.deepStrictEqual(yield* answersOf([store, store], run, ids), expected)
    }
  })

/** A leader whose etcd lease was revoked notices it at once, no candidate takes that for a release, and the leader can release. */
const stopsWithoutSession: Check = ({ etcd, store }) =>
  Effect.gen(function*() {
    const grant = yield* acquire(store, claimOf(randomUUID()))
    const before = yield* seen(store, grant.name)
    const hint = yield* Effect.fork(store.changed(grant.name))
    yield* etcd.post("lease/revoke", { ID: (yield* sessionOf(etcd, grant)).lease })
    yield* within("the hint")(Fiber.join(hint))
    assert.deepStrictEqual(yield* seen(store, grant.name), before)
    assert.deepStrictEqual(before.holderId, Option.some(grant.holderId))
    assert.strictEqual(yield* store.renew(grant), "Lost")
    yield* store.release(grant)
    assert.isTrue(Option.isNone((yield* seen(store, grant.name)).holderId))
  })

/** A leader whose grant somebody has written again, without touching its session, has lost the lease. */
const stopsWithoutGrant: Check = ({ etcd, store }) =>
  Effect.gen(function*() {
    const grant = yield* acquire(store, claimOf(randomUUID()))
    const key = Etcd.base64(`gateway-lock/${grant.name}/grant`)
    const { kvs } = yield* etcd.post("kv/range", { key })
    yield* etcd.post("kv/put", { key, value: Array.isArray(kvs) ? kvs[0]?.value : undefined })
    assert.strictEqual(yield* store.renew(grant), "Lost")
  })

/** The session stays as long as the leader renews, and for the whole lease after that. Then it goes, although nobody removes it. */
const keepsSession: Check = ({ etcd, store }) =>
  Effect.gen(function*() {
    const grant = yield* acquire(store, claimOf(randomUUID(), { ttl: Duration.millis(1100) }))
    const { lease } = yield* sessionOf(etcd, grant)
    const { grantedTTL } = yield* etcd.post("lease/timetolive", { ID: lease })
    assert.isAtLeast(Number(grantedTTL), 2)
    for (let count = 0; count < 8; count++) {
      assert.strictEqual(yield* store.renew(grant), "Renewed")
      yield* Effect.sleep("500 millis")
    }
    assert.isDefined(yield* sessionOf(etcd, grant))
    yield* eventually(
      "the end of the etcd lease",
      Effect.map(sessionOf(etcd, grant), (session) => session === undefined)
    )
  })

/** A claim that is sent again, because its answer was lost, is still granted. The session of the former holder is gone. */
const grantsOnce: Check = ({ etcd, store }) =>
  Effect.gen(function*() {
    const former = yield* acquire(store, claimOf(randomUUID()))
    const [sighting, claim] = [yield* seen(store, former.name), claimOf(former.name)]
    const grant = yield* store.acquire(sighting, claim)
    assert.isTrue(Option.isSome(grant))
    assert.deepStrictEqual(yield* store.acquire(sighting, claim), grant)
    assert.isUndefined(yield* sessionOf(etcd, former))
  })

/** A release is a hint, and renewals are none. */
const hintsAtChanges: Check = ({ store }) =>
  Effect.gen(function*() {
    const name = randomUUID()
    const first = yield* acquire(store, claimOf(name))
    const hint = yield* Effect.fork(store.changed(name))
    yield* store.release(first)
    yield* within("the hint of the first release")(Fiber.join(hint))
    // The watch is open now, so that each further event is shown at once.
    const grant = yield* acquire(store, claimOf(name))
    yield* seen(store, name)
    const next = yield* Effect.fork(store.changed(name))
    for (let count = 0; count < 5; count++) yield* store.renew(grant)
    yield* Effect.raceFirst(Fiber.join(next), Effect.sleep("1 second"))
    assert.isTrue(Option.isNone(yield* Fiber.poll(next)), "a renewal was a hint")
    yield* store.release(grant)
    yield* within("the hint of the second release")(Fiber.join(next))
  })

const checks = {
  comparesEachField,
  likeSimulated,
  stopsWithoutSession,
  stopsWithoutGrant,
  keepsSession,
  grantsOnce,
  hintsAtChanges
} satisfies Record<keyof typeof etcdMutants, Check>

const getServer = shared(Etcd.noEtcd, Etcd.start())

const run = (check: Check, name: string) =>
  Effect.gen(function*() {
    const etcd = yield* getServer
    const { EtcdLeaseStore } = yield* Effect.promise(() =>
      loadEtcd[name]?.() ?? Promise.reject(new Error(`no ${name}`))
    )
    const layer = EtcdLeaseStore.layerEtcd({ url: etcd.url, attemptTimeout: "20 seconds" })
    const store = Context.get(yield* Layer.build(Layer.provide(layer, FetchHttpClient.layer)), LeaseStore)
    yield* check({ etcd, store })
  }).pipe(Effect.scoped)

const { describe, live } = unless(Etcd.noEtcd)

describe("the store in etcd", () => {
  for (const [name, check] of Object.entries(checks)) {
    live(`is clean without a mistake: ${name}`, () => run(check, unchanged))
  }
  for (const [check, mutants] of Object.entries(etcdMutants)) {
    for (const { name } of mutants) {
      live(`with this mistake is found: ${name}`, () =>
        Effect.gen(function*() {
          const answer = yield* Effect.either(Effect.sandbox(run(checks[check as keyof typeof checks], name)))
          assert.isTrue(Either.isLeft(answer), "no check has failed")
          if (Either.isLeft(answer)) assert.notMatch(String(answer.left), /has not exactly once|no etcd:/)
        }), 30_000)
    }
  }
})
