/** Checks of a `LeaseStore` that find wrong versions of it. */
import { assert } from "@effect/vitest"
import { Effect, FastCheck as fc, Option } from "effect"
import { randomUUID } from "node:crypto"
import type { LeaseStore, Sighting, StoreError } from "../../../src/leader/LeaseStore.ts"
import * as SimulatedLeaseStore from "../../../src/testing/SimulatedLeaseStore.ts"
import { acquire, claimOf } from "../../leader/leaseStoreContract.ts"
import { answersOf, commands } from "../../leader/leaseStoreModel.ts"

type Store = LeaseStore["Type"]

export const seen = (store: Store, name: string): Effect.Effect<Sighting, StoreError> =>
  Effect.map(store.look(name), Option.getOrThrow)

/** The store answers drawn operations as the simulated one does. */
export const likeSimulated = ({ store }: { readonly store: Store }) =>
  Effect.gen(function*() {
    for (const run of fc.sample(commands, { numRuns: 40, seed: 1 })) {
      const simulated = yield* SimulatedLeaseStore.make
      const ids = run.map(() => randomUUID())
      const expected = yield* answersOf([simulated.link("one").store, simulated.link("other").store], run, ids)
      assert.deepStrictEqual(yield* answersOf([store, store], run, ids), expected)
    }
  })

/** Acquires a lease and renews it. A claim is refused if one field of its sighting has changed. Returns the grant. */
export const comparesSighting = (store: Store) =>
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
    return grant
  })
