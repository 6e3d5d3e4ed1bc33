import { FetchHttpClient } from "@effect/platform"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { afterAll, beforeAll } from "vitest"
import * as EtcdLeaseStore from "../../src/leader/EtcdLeaseStore.ts"
import { LeaseStore } from "../../src/leader/LeaseStore.ts"
import * as Etcd from "../fixtures/etcd.ts"
import { unless } from "../fixtures/skips.ts"
import { leaseStoreContract, tableTraits } from "./leaseStoreContract.ts"

let server: Etcd.Etcd
const scope = Effect.runSync(Scope.make())
beforeAll(async () => {
  if (Etcd.noEtcd === undefined) server = await Effect.runPromise(Scope.extend(Etcd.start(), scope))
})
afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

const connect = Effect.suspend(() =>
  Effect.map(
    Layer.build(
      Layer.provide(EtcdLeaseStore.layerEtcd({ url: server.url, attemptTimeout: "20 seconds" }), FetchHttpClient.layer)
    ),
    Context.get(LeaseStore)
  )
)

leaseStoreContract(
  "a lease in etcd",
  { traits: { ...tableTraits, refusedNames: ["1 MB", "half of a surrogate pair"] }, connect },
  unless(Etcd.noEtcd)
)
