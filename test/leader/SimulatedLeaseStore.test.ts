import { Effect } from "effect"
import * as SimulatedLeaseStore from "../../src/testing/SimulatedLeaseStore.ts"
import { leaseStoreContract, tableTraits } from "./leaseStoreContract.ts"

const store = Effect.runSync(SimulatedLeaseStore.make)
let hosts = 0

leaseStoreContract("a lease of the simulated store", {
  traits: tableTraits,
  connect: Effect.sync(() => store.link(`host ${hosts++}`).store)
})
