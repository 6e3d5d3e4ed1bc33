/**
 * What every `LeaseStore` must do, as tests. A file of tests calls `leaseStoreContract` with its store.
 *
 * Each test uses a lease of its own, so that all tests of a file can share one server.
 */
import { assert, describe, it, type Vitest } from "@effect/vitest"
import { Duration, Effect, Either, Equal, FastCheck as fc, Option, type Scope } from "effect"
import { randomUUID } from "node:crypto"
import {
  type Claim,
  type Grant,
  type LeaseStore,
  type Sighting,
  type StoreError,
  StoreFailed
} from "../../src/leader/LeaseStore.ts"
import * as SimulatedLeaseStore from "../../src/testing/SimulatedLeaseStore.ts"
import { answersOf, claimOf, commands, newName } from "./leaseStoreModel.ts"

export { claimOf } from "./leaseStoreModel.ts"

type Store = LeaseStore["Type"]

/** Names that a person may give to a lease, and names that some engine may not keep. */
export const oddNames = {
  "quotes": `a'b"c\`d$$e;--`,
  "a backslash": String.raw`a\b\'c\x41`,
  "unicode": "Ünïcödé 租约 🗝️ \u0301\u202e",
  "white space": " a\tb\nc ",
  "a percent sign and slashes": "%00/../a?b=c&d#e%s",
  "no character": "",
  "1000 bytes": "n".repeat(1000),
  "1 MB": "n".repeat(1_000_000),
  "a NUL character": "a\u0000b",
  "half of a surrogate pair": "a\ud800b"
} as const

/** What may differ between stores. */
export interface StoreTraits {
  /** Whether a sighting changes with each renewal. */
  readonly countsRenewals: boolean
  /** Whether a lease stays after its release, with its last token. `false`: then `look` returns what it returns for a new name. */
  readonly keepsReleased: boolean
  /** Whether `create` makes a lease that looks held by the claim. `false`: a lease that does not exist is acquired directly. */
  readonly createsHeld: boolean
  /** The fields of a sighting that `acquire` compares. */
  readonly compares: ReadonlyArray<"holderId" | "fencingToken" | "renewals" | "epoch">
  /** Whether `changed` completes soon after a release. */
  readonly hasHints: boolean
  /** The `ttl` that the store keeps for the `ttl` of a claim. */
  readonly ttlOf: (ttl: Duration.Duration) => Duration.Duration
  /** The odd names that the store refuses, with `StoreRefused`. It keeps all others. */
  readonly refusedNames: ReadonlyArray<keyof typeof oddNames>
}

/** The traits of a store that keeps leases in a table. */
export const tableTraits: StoreTraits = {
  countsRenewals: true,
  keepsReleased: true,
  createsHeld: true,
  compares: ["holderId", "fencingToken", "renewals", "epoch"],
  hasHints: true,
  ttlOf: (ttl) => ttl,
  refusedNames: []
}

export interface StoreUnderTest {
  readonly traits: StoreTraits
  /** Connects one more client to the store. Every call reaches the same leases. */
  readonly connect: Effect.Effect<Store, StoreError, Scope.Scope>
}

const notGranted = (name: string) => new StoreFailed({ reason: `${name} was not granted` })

/** Looks at a lease that exists. */
const seen = (store: Store, name: string): Effect.Effect<Sighting, StoreError> =>
  Effect.flatMap(
    store.look(name),
    Option.match({
      onNone: () => Effect.fail(new StoreFailed({ reason: `${name} does not exist` })),
      onSome: Effect.succeed
    })
  )

/** Looks at the lease, and creates it if it does not exist. */
export const ensure = (store: Store, name: string): Effect.Effect<Sighting, StoreError> =>
  Effect.flatMap(
    store.look(name),
    Option.match({
      onNone: () => Effect.zipRight(store.create(claimOf(name)), seen(store, name)),
      onSome: Effect.succeed
    })
  )

/** Acquires the lease, whoever holds it. */
export const acquire = (store: Store, claim: Claim): Effect.Effect<Grant, StoreError> =>
  Effect.flatMap(ensure(store, claim.name), (sighting) =>
    Effect.flatMap(
      store.acquire(sighting, claim),
      Option.match({
        onNone: () => Effect.fail(notGranted(claim.name)),
        onSome: Effect.succeed
      })
    ))

const nested = (depth: number): unknown => depth === 0 ? "end" : { in: [nested(depth - 1)] }

const holders: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "nothing": {},
  "unicode and quotes": { "Ünï \"quoted\" 'x' \\ $1": "租约 🗝️ \u2028 \u001b[31m \r\n\t", "%s": "{\"a\":1}" },
  "numbers": { zero: 0, less: -1.5, large: 2 ** 53 - 1, huge: 1.7976931348623157e308, tiny: 5e-324 },
  "lists and null": { list: [1, [], {}, null, true, [false, "a"]], none: null, "": "empty key" },
  "a key that is special in JavaScript": JSON.parse(`{"__proto__":{"a":1},"constructor":"b"}`),
  "100 levels": { deep: nested(100) },
  "200 kB": { text: "é\"".repeat(70_000) }
}

const creation = (test: Tester, { connect, traits }: StoreUnderTest) => {
  test.scopedLive("does not exist before it was created", () =>
    Effect.gen(function*() {
      const store = yield* connect
      const name = newName()
      const absent = yield* store.look(name)
      if (traits.createsHeld) assert.isTrue(Option.isNone(absent))
      const grant: Grant = { name, holderId: randomUUID(), fencingToken: 1n }
      assert.strictEqual(yield* store.renew(grant), "Lost")
      yield* store.release(grant)
      assert.isFalse(yield* store.requestResign(name, 1n))
      assert.deepStrictEqual(yield* store.look(name), absent)
    }))

  if (!traits.createsHeld) return
  test.scopedLive("looks held by its creator, but is granted to nobody", () =>
    Effect.gen(function*() {
      const store = yield* connect
      const claim = claimOf(newName(), { ttl: Duration.seconds(20), holder: { pid: 1 } })
      yield* store.create(claim)
      const sighting = yield* seen(store, claim.name)
      assert.deepStrictEqual(sighting.holderId, Option.some(claim.holderId))
      assert.deepStrictEqual(sighting.holder, { pid: 1 })
      assert.strictEqual(Duration.toMillis(sighting.ttl), Duration.toMillis(traits.ttlOf(claim.ttl)))
      assert.strictEqual(sighting.renewals, 0n)
      const grant = yield* acquire(store, claimOf(claim.name))
      assert.isTrue(sighting.fencingToken < grant.fencingToken)
    }))

  test.scopedLive("is not changed by a second creator, whether it is held or released", () =>
    Effect.gen(function*() {
      const [one, other] = [yield* connect, yield* connect]
      const name = newName()
      const grant = yield* acquire(one, claimOf(name, { holder: { first: true } }))
      const held = yield* seen(one, name)
      yield* other.create(claimOf(name, { ttl: Duration.seconds(99), holder: { first: false } }))
      assert.deepStrictEqual(yield* seen(one, name), held)
      yield* one.release(grant)
      const released = yield* seen(one, name)
      yield* other.create(claimOf(name))
      assert.deepStrictEqual(yield* seen(one, name), released)
    }))

  test.scopedLive("belongs to one of twenty creators at one time", () =>
    Effect.gen(function*() {
      const store = yield* connect
      const claims = Array.from({ length: 20 }, (_, at) => claimOf("", { holder: { at } }))
      const name = newName()
      yield* Effect.forEach(claims, (claim) => Effect.flatMap(connect, (store) => store.create({ ...claim, name })), {
        concurrency: "unbounded"
      })
      const sighting = yield* seen(store, name)
      const creator = claims.find(({ holderId }) => holderId === Option.getOrUndefined(sighting.holderId))
      assert.deepStrictEqual(creator?.holder, sighting.holder)
    }))
}

/** Sightings that differ from a real one in a single field. */
const variants = (sighting: Sighting): Readonly<Record<string, Sighting>> => ({
  holderId: { ...sighting, holderId: Option.some(randomUUID()) },
  "holderId, released": { ...sighting, holderId: Option.none() },
  fencingToken: { ...sighting, fencingToken: sighting.fencingToken + 1n },
  "fencingToken, lower": { ...sighting, fencingToken: sighting.fencingToken - 1n },
  renewals: { ...sighting, renewals: sighting.renewals + 1n },
  epoch: { ...sighting, epoch: sighting.epoch + 1n },
  "epoch, lower": { ...sighting, epoch: sighting.epoch - 1n }
})

const acquisition = (test: Tester, { connect, traits }: StoreUnderTest) => {
  test.scopedLive("is granted with the values of the claim", () =>
    Effect.gen(function*() {
      const [store, other] = [yield* connect, yield* connect]
      const claim = claimOf(newName(), { ttl: Duration.seconds(30), holder: { host: "one" } })
      const grant = yield* acquire(store, claim)
      assert.strictEqual(grant.name, claim.name)
      assert.strictEqual(grant.holderId, claim.holderId)
      const sighting = yield* seen(other, claim.name)
      assert.deepStrictEqual(sighting.holderId, Option.some(claim.holderId))
      assert.strictEqual(sighting.fencingToken, grant.fencingToken)
      assert.strictEqual(sighting.renewals, 0n)
      assert.deepStrictEqual(sighting.holder, claim.holder)
      assert.isTrue(Equal.equals(sighting.ttl, traits.ttlOf(claim.ttl)))
    }))

  test.scopedLive("is not granted if any field has changed since the look", () =>
    Effect.gen(function*() {
      const store = yield* connect
      const claim = claimOf(newName())
      yield* acquire(store, claim)
      const sighting = yield* seen(store, claim.name)
      for (const [field, variant] of Object.entries(variants(sighting))) {
        if (!traits.compares.some((name) => field.startsWith(name))) continue
        assert.isTrue(Option.isNone(yield* store.acquire(variant, claimOf(claim.name))), field)
      }
      assert.deepStrictEqual(yield* seen(store, claim.name), sighting)
      assert.isTrue(Option.isSome(yield* store.acquire(sighting, claimOf(claim.name))))
    }))

  test.scopedLive("is not granted by the sighting of another lease", () =>
    Effect.gen(function*() {
      const store = yield* connect
      const [one, other] = [claimOf(newName()), claimOf(newName())]
      yield* acquire(store, one)
      yield* acquire(store, other)
      const sighting = yield* seen(store, one.name)
      assert.isTrue(Option.isNone(yield* store.acquire(sighting, claimOf(other.name))))
      if (traits.createsHeld) assert.isTrue(Option.isNone(yield* store.acquire(sighting, claimOf(newName()))))
    }))

  test.scopedLive("is not granted twice for one sighting, also after a release and after a renewal", () =>
    Effect.gen(function*() {
      const [store, other] = [yield* connect, yield* connect]
      const name = newName()
      const first = yield* ensure(store, name)
      const grant = yield* store.acquire(first, claimOf(name))
      assert.isTrue(Option.isNone(yield* other.acquire(first, claimOf(name))))
      const held = yield* seen(store, name)
      if (traits.countsRenewals) {
        yield* store.renew(Option.getOrThrow(grant))
        assert.isTrue(Option.isNone(yield* other.acquire(held, claimOf(name))))
      }
      yield* store.release(Option.getOrThrow(grant))
      assert.isTrue(Option.isNone(yield* other.acquire(held, claimOf(name))))
    }))

  test.scopedLive("is granted to exactly one of twenty candidates with the same sighting, ten times", () =>
    Effect.gen(function*() {
      const stores = yield* Effect.all(Array.from({ length: 20 }, () => connect), { concurrency: "unbounded" })
      const [store] = stores
      const name = newName()
      assert.isDefined(store)
      if (store === undefined) return
      let highest = 0n
      for (let round = 0; round < 10; round++) {
        const sighting = yield* ensure(store, name)
        const answers = yield* Effect.forEach(stores, (store) => store.acquire(sighting, claimOf(name)), {
          concurrency: "unbounded"
        })
        const grants = answers.flatMap(Option.toArray)
        assert.lengthOf(grants, 1)
        const [grant] = grants
        const held = yield* seen(store, name)
        assert.deepStrictEqual(held.holderId, Option.fromNullable(grant?.holderId))
        assert.strictEqual(held.fencingToken, grant?.fencingToken)
        assert.isTrue(highest < held.fencingToken)
        highest = held.fencingToken
      }
    }))

  test.scopedLive("has tokens that grow, also over releases", () =>
    Effect.gen(function*() {
      const store = yield* connect
      const name = newName()
      const tokens: Array<bigint> = []
      for (let round = 0; round < 20; round++) {
        const grant = yield* acquire(store, claimOf(name))
        tokens.push(grant.fencingToken)
        if (round % 2 === 0) yield* store.release(grant)
      }
      assert.deepStrictEqual(tokens, [...new Set(tokens)].toSorted((a, b) => a < b ? -1 : 1))
    }))
}

const renewal = (test: Tester, { connect, traits }: StoreUnderTest) => {
  test.scopedLive("is renewed by its grant", () =>
    Effect.gen(function*() {
      const [store, other] = [yield* connect, yield* connect]
      const grant = yield* acquire(store, claimOf(newName()))
      const before = yield* seen(other, grant.name)
      for (let count = 1n; count <= 3n; count++) {
        assert.strictEqual(yield* store.renew(grant), "Renewed")
        const after = yield* seen(other, grant.name)
        assert.deepStrictEqual(after, traits.countsRenewals ? { ...before, renewals: count } : before)
      }
    }))

  test.scopedLive("is neither renewed nor released by any other grant", () =>
    Effect.gen(function*() {
      const store = yield* connect
      const name = newName()
      const former = yield* acquire(store, claimOf(name))
      const grant = yield* acquire(store, claimOf(name))
      const sighting = yield* seen(store, name)
      const others: ReadonlyArray<Grant> = [
        former,
        { ...grant, fencingToken: former.fencingToken },
        { ...grant, holderId: former.holderId },
        { ...grant, name: newName() }
      ]
      for (const other of others) {
        assert.strictEqual(yield* store.renew(other), "Lost")
        yield* store.release(other)
        assert.deepStrictEqual(yield* seen(store, name), sighting)
      }
      assert.strictEqual(yield* store.renew(grant), "Renewed")
    }))

  test.scopedLive("is lost once it is released, and a second release changes nothing", () =>
    Effect.gen(function*() {
      const [store, other] = [yield* connect, yield* connect]
      const grant = yield* acquire(store, claimOf(newName()))
      yield* store.release(grant)
      const released = yield* other.look(grant.name)
      if (traits.keepsReleased) {
        const sighting = Option.getOrThrow(released)
        assert.isTrue(Option.isNone(sighting.holderId))
        assert.strictEqual(sighting.fencingToken, grant.fencingToken)
      }
      assert.strictEqual(yield* store.renew(grant), "Lost")
      yield* store.release(grant)
      assert.deepStrictEqual(yield* other.look(grant.name), released)
      const next = yield* acquire(other, claimOf(grant.name))
      assert.isTrue(grant.fencingToken < next.fencingToken)
      yield* store.release(grant)
      assert.strictEqual(yield* other.renew(next), "Renewed")
    }))

  test.scopedLive("asks only its leader to hand over, until the next grant", () =>
    Effect.gen(function*() {
      const [store, other] = [yield* connect, yield* connect]
      const former = yield* acquire(store, claimOf(newName()))
      const grant = yield* acquire(store, claimOf(former.name))
      assert.isFalse(yield* other.requestResign(grant.name, former.fencingToken))
      assert.isFalse(yield* other.requestResign(grant.name, grant.fencingToken + 1n))
      assert.strictEqual(yield* store.renew(grant), "Renewed")
      assert.isTrue(yield* other.requestResign(grant.name, grant.fencingToken))
      assert.isTrue(yield* other.requestResign(grant.name, grant.fencingToken))
      assert.strictEqual(yield* store.renew(grant), "Resign")
      assert.strictEqual(yield* store.renew(grant), "Resign")
      yield* store.release(grant)
      assert.isFalse(yield* other.requestResign(grant.name, grant.fencingToken))
      const next = yield* acquire(other, claimOf(grant.name))
      assert.strictEqual(yield* other.renew(next), "Renewed")
    }))

  test.scopedLive(traits.hasHints ? "hints at a release" : "never hints", () =>
    Effect.gen(function*() {
      const [store, other] = [yield* connect, yield* connect]
      const grant = yield* acquire(store, claimOf(newName()))
      const hint = yield* Effect.fork(other.changed(grant.name))
      const hinted = Effect.timeoutOption(Effect.fromFiber(hint), traits.hasHints ? "10 seconds" : "300 millis")
      // A store may need a moment before it notices releases, so the release is repeated until the hint comes.
      const releases = Effect.forever(
        Effect.zipRight(
          Effect.flatMap(acquire(store, claimOf(grant.name)), store.release),
          Effect.sleep("20 millis")
        )
      )
      assert.strictEqual(Option.isSome(yield* Effect.raceFirst(hinted, releases)), traits.hasHints)
    }))
}

const values = (test: Tester, { connect, traits }: StoreUnderTest) => {
  test.scopedLive("keeps the holder's own JSON", () =>
    Effect.gen(function*() {
      const store = yield* connect
      for (const [what, holder] of Object.entries(holders)) {
        const name = newName()
        yield* acquire(store, claimOf(name, { holder }))
        assert.deepStrictEqual((yield* seen(store, name)).holder, holder, what)
      }
    }))

  test.scopedLive("keeps the time of the last claim", () =>
    Effect.gen(function*() {
      const store = yield* connect
      const name = newName()
      for (const ttl of [Duration.seconds(2), Duration.seconds(15), Duration.millis(12_345), Duration.hours(1)]) {
        const grant = yield* acquire(store, claimOf(name, { ttl }))
        yield* store.renew(grant)
        const kept = (yield* seen(store, name)).ttl
        assert.strictEqual(Duration.toMillis(kept), Duration.toMillis(traits.ttlOf(ttl)))
        assert.isTrue(Duration.greaterThanOrEqualTo(kept, ttl))
      }
    }))

  for (const [what, suffix] of Object.entries(oddNames)) {
    const isRefused = traits.refusedNames.some((name) => name === what)
    test.scopedLive(`${isRefused ? "refuses" : "keeps"} a name with ${what}`, () =>
      Effect.gen(function*() {
        const store = yield* connect
        // The empty name is the same in each run, so its lease may exist already.
        const name = suffix === "" ? "" : `${randomUUID()}${suffix}`
        const answer = yield* Effect.either(acquire(store, claimOf(name, { holder: { what } })))
        if (isRefused) {
          if (Either.isRight(answer)) assert.fail("the name was accepted")
          else assert.propertyVal(answer.left, "_tag", "StoreRefused")
          const looked = yield* Effect.either(store.look(name))
          assert.isTrue(Either.isLeft(looked) || Option.isNone(looked.right))
        } else {
          const grant = Either.getOrThrow(answer)
          assert.deepStrictEqual((yield* seen(store, name)).holder, { what })
          assert.strictEqual(yield* store.renew(grant), "Renewed")
          yield* store.release(grant)
        }
      }))
  }
}

/** A store with every trait of a table answers each sequence of operations as the simulated one does. */
const likeSimulated = (test: Tester, { connect, traits }: StoreUnderTest) => {
  if (!traits.countsRenewals || !traits.keepsReleased || !traits.createsHeld) return
  test.scopedLive("answers drawn operations as the simulated store does", () =>
    Effect.gen(function*() {
      const stores = [yield* connect, yield* connect] as const
      const runs = fc.sample(commands, 10)
      for (const run of runs) {
        const simulated = yield* SimulatedLeaseStore.make
        const ids = run.map(() => randomUUID())
        const expected = yield* answersOf([simulated.link("one").store, simulated.link("other").store], run, ids)
        assert.deepStrictEqual(yield* answersOf(stores, run, ids), expected, JSON.stringify(run))
      }
    }))
}

interface Tester {
  readonly scopedLive: Vitest.Test<Scope.Scope>
}

/** Declares the tests. `test`: another tester, for tests that do not run on every machine. */
export const leaseStoreContract = (title: string, subject: StoreUnderTest, test: Tester = it): void => {
  describe(title, () => {
    creation(test, subject)
    acquisition(test, subject)
    renewal(test, subject)
    values(test, subject)
    likeSimulated(test, subject)
  })
}
