/** The store on a real PostgreSQL server, directly and through pgbouncer. */
import { Effect, Exit, Redacted, Scope } from "effect"
import { afterAll, beforeAll } from "vitest"
import * as PostgresLeaseStore from "../../src/leader/PostgresLeaseStore.ts"
import * as Postgres from "../fixtures/postgres.ts"
import { unless } from "../fixtures/skips.ts"
import { leaseStoreContract, tableTraits } from "./leaseStoreContract.ts"

const scope = Effect.runSync(Scope.make())
let server: Postgres.PostgresServer
let pooler: Postgres.Pgbouncer

const isSkipped = Postgres.noPgbouncer !== undefined

beforeAll(async () => {
  if (isSkipped) return
  await Effect.runPromise(
    Effect.gen(function*() {
      server = yield* Postgres.startPostgres()
      pooler = yield* Postgres.startPgbouncer(server)
    }).pipe(Effect.provideService(Scope.Scope, scope))
  )
})
afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

const connect = (url: string) => PostgresLeaseStore.make({ url: Redacted.make(url), attemptTimeout: "10 seconds" })

const traits = { ...tableTraits, refusedNames: ["1 MB", "a NUL character", "half of a surrogate pair"] } as const

const { scopedLive } = unless(Postgres.noPgbouncer)

leaseStoreContract("a lease in PostgreSQL", {
  traits,
  connect: Effect.suspend(() => connect(server.url()))
}, { scopedLive })

leaseStoreContract("a lease in PostgreSQL behind pgbouncer", {
  traits: { ...traits, hasHints: false },
  connect: Effect.suspend(() => connect(pooler.url()))
}, { scopedLive })
