/**
 * Wrong versions of the store's SQL, with one mistake each. Each is found by a check on a real server, on which the unchanged SQL is
 * clean.
 */
import { assert } from "@effect/vitest"
import { Duration, Effect, Either, Option, type Scope } from "effect"
import { randomUUID } from "node:crypto"
import { vi } from "vitest"
import type { LeaseStore, StoreError } from "../../src/leader/LeaseStore.ts"
import type * as PostgresLeaseStore from "../../src/leader/PostgresLeaseStore.ts"
import type * as PostgresSql from "../../src/leader/PostgresSql.ts"
import * as Postgres from "../fixtures/postgres.ts"
import { shared } from "../fixtures/sharedResource.ts"
import { unless } from "../fixtures/skips.ts"
import { acquire, claimOf, ensure } from "../leader/leaseStoreContract.ts"
import { comparesSighting, likeSimulated, seen } from "./support/storeChecks.ts"

type Store = LeaseStore["Type"]
type Stores = typeof PostgresLeaseStore
type Statements = typeof PostgresSql

interface Scene {
  readonly server: Postgres.PostgresServer
  readonly store: Store
  readonly stores: Stores
}

type Check = (scene: Scene) => Effect.Effect<unknown, StoreError | Postgres.EngineFailed, Scope.Scope>

const comparesEachField: Check = ({ store }) =>
  Effect.gen(function*() {
    const grant = yield* comparesSighting(store)
    yield* store.release(grant)
    assert.isTrue(Option.isSome(yield* store.acquire(yield* seen(store, grant.name), claimOf(grant.name))))
    // The former grant has the holder or the token in common with the present one, but not both.
    const next = yield* acquire(store, claimOf(grant.name))
    assert.strictEqual(yield* store.renew({ ...grant, fencingToken: next.fencingToken }), "Lost")
    assert.strictEqual(yield* store.renew({ ...next, fencingToken: grant.fencingToken }), "Lost")
    yield* store.release({ ...next, fencingToken: grant.fencingToken })
    assert.strictEqual(yield* store.renew(next), "Renewed")
  })

const isDurable: Check = ({ server, store }) =>
  Effect.gen(function*() {
    const name = randomUUID()
    const first = yield* acquire(store, claimOf(name))
    yield* server.sql("CHECKPOINT")
    const steps = [
      Effect.map(store.renew(first), (answer) => assert.strictEqual(answer, "Renewed")),
      Effect.asVoid(acquire(store, claimOf(name)))
    ]
    for (const step of steps) {
      yield* step
      const before = yield* seen(store, name)
      yield* server.crash
      yield* server.start
      assert.deepStrictEqual(yield* seen(store, name), before)
    }
  })

const survivesUpgrade: Check = ({ server, store }) =>
  Effect.gen(function*() {
    const name = randomUUID()
    yield* ensure(store, name)
    yield* server.sql(
      `UPDATE gateway_lock.lease SET system_identifier = 1, fencing_token = (900::bigint << 40) + 5 WHERE name = '${name}'`
    )
    const { epoch } = yield* seen(store, name)
    assert.isTrue(epoch > 900n)
    for (let round = 0; round < 2; round++) {
      assert.strictEqual((yield* acquire(store, claimOf(name))).fencingToken >> 40n, epoch)
      assert.strictEqual((yield* seen(store, name)).epoch, epoch)
    }
  })

const survivesDeletion: Check = ({ server, store }) =>
  Effect.gen(function*() {
    const name = randomUUID()
    const grant = yield* acquire(store, claimOf(name))
    yield* server.sql(`DELETE FROM gateway_lock.lease WHERE name = '${name}'`)
    assert.isTrue(grant.fencingToken < (yield* acquire(store, claimOf(name))).fencingToken)
  })

const leavesNoWaiter: Check = ({ server, store }) =>
  Effect.gen(function*() {
    const grant = yield* acquire(store, claimOf(randomUUID()))
    yield* Postgres.lockRow(server, "postgres", grant.name)
    yield* Effect.forEach([1, 2, 3], () => Effect.either(store.renew(grant)))
    const waiting = server.sql(
      "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%renewals + 1%'"
    )
    yield* Effect.sleep("1 second")
    assert.lengthOf(yield* waiting, 0)
  })

const survivesFailover: Check = ({ server, store, stores }) =>
  Effect.gen(function*() {
    const name = randomUUID()
    yield* acquire(store, claimOf(name))
    const replica = yield* Postgres.startReplica(server)
    yield* replica.sql("ALTER SYSTEM SET primary_conninfo = ''")
    yield* replica.sql("SELECT pg_reload_conf()")
    yield* Effect.repeat(replica.sql("SELECT FROM pg_stat_wal_receiver"), { until: ({ length }) => length === 0 })
    const lost = yield* acquire(store, claimOf(name))
    yield* replica.promote
    const promoted = yield* stores.make({ url: replica.url() })
    assert.isTrue(lost.fencingToken < (yield* acquire(promoted, claimOf(name))).fencingToken)
  })

const ignoresSearchPath: Check = ({ server, stores }) =>
  Effect.gen(function*() {
    yield* server.sql(
      `DROP SCHEMA IF EXISTS evil CASCADE; DROP ROLE IF EXISTS tricked; CREATE ROLE tricked LOGIN SUPERUSER; CREATE SCHEMA evil;
      ALTER ROLE tricked SET search_path = evil, pg_catalog;
      CREATE FUNCTION evil.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'`
    )
    const store = yield* stores.make({ url: server.url({ user: "tricked" }) })
    yield* acquire(store, claimOf(randomUUID()))
  })

interface Mutant {
  readonly name: string
  readonly statement: keyof Statements & ("acquire" | "create" | "renew" | "release" | "requestResign" | "look")
  readonly from: string | RegExp
  readonly to: string
  readonly check: Check
}

/** The part that makes a change durable. Without it, the setting of the database applies. */
const durable = /pg_catalog\.set_config\('synchronous_commit'[^]*?true\) AS durable/

const mutants: ReadonlyArray<Mutant> = [
  {
    name: "no renewals in the compare-and-set",
    statement: "acquire",
    from: "AND l.renewals = $7::bigint",
    to: "AND $7::bigint >= 0",
    check: comparesEachField
  },
  {
    name: "no token in the compare-and-set",
    statement: "acquire",
    from: "l.fencing_token = $6::bigint",
    to: "$6::bigint > 0",
    check: comparesEachField
  },
  {
    name: "no holder in the compare-and-set",
    statement: "acquire",
    from: "l.holder_id IS NOT DISTINCT FROM $8::uuid",
    to: "($8::uuid IS NULL OR true)",
    check: comparesEachField
  },
  {
    name: "a holder that is compared by =",
    statement: "acquire",
    from: "IS NOT DISTINCT FROM $8",
    to: "= $8",
    check: comparesEachField
  },
  {
    name: "no epoch in the compare-and-set",
    statement: "acquire",
    from: "= $9::bigint",
    to: "+ $9::bigint > 0",
    check: comparesEachField
  },
  {
    name: "a token that is a plain counter",
    statement: "acquire",
    from: /fencing_token = greatest\(l\.fencing_token, .*<< 40\) \+ 1/,
    to: "fencing_token = l.fencing_token + 1",
    check: survivesFailover
  },
  { name: "a token that is kept", statement: "acquire", from: "<< 40) + 1", to: "<< 40)", check: likeSimulated },
  {
    name: "a request to hand over that outlives a grant",
    statement: "acquire",
    from: "resign_token = NULL",
    to: "resign_token = greatest(l.resign_token, l.fencing_token + 1)",
    check: likeSimulated
  },
  {
    name: "a base that is not kept",
    statement: "acquire",
    from: /\n {2}base = CASE.*END,/,
    to: "\n  base = l.base,",
    check: survivesUpgrade
  },
  {
    name: "a grant that is not durable",
    statement: "acquire",
    from: durable,
    to: "'on' AS durable",
    check: isDurable
  },
  {
    name: "a renewal that is not durable",
    statement: "renew",
    from: durable,
    to: "'on' AS durable",
    check: isDurable
  },
  {
    name: "a renewal by any token",
    statement: "renew",
    from: "AND l.fencing_token = $4::bigint",
    to: "AND $4::bigint > 0",
    check: comparesEachField
  },
  {
    name: "a renewal by any holder",
    statement: "renew",
    from: "l.holder_id = $3::uuid",
    to: "$3::uuid IS NOT NULL",
    check: comparesEachField
  },
  {
    name: "a release by any token",
    statement: "release",
    from: "AND l.fencing_token = $4::bigint",
    to: "AND $4::bigint > 0",
    check: comparesEachField
  },
  {
    name: "a request to a lease that is released",
    statement: "requestResign",
    from: "l.holder_id IS NOT NULL",
    to: "true",
    check: likeSimulated
  },
  {
    name: "a first counter that is always the same",
    statement: "create",
    from: "(pg_catalog.pg_current_xact_id()::text)::bigint",
    to: "0",
    check: survivesDeletion
  },
  {
    name: "a renewal that waits for ever",
    statement: "renew",
    from: "set_config('lock_timeout', $1, true)",
    to: "set_config('lock_timeout', ($1::int * 0)::text, true)",
    check: leavesNoWaiter
  },
  {
    name: "a function without its schema",
    statement: "look",
    from: "SELECT pg_catalog.pg_is_in_recovery()",
    to: "SELECT pg_is_in_recovery()",
    check: ignoresSearchPath
  }
]

const getServer = shared(
  Postgres.noPostgres,
  Effect.tap(
    Postgres.startPostgres({ wal_writer_delay: "10s", bgwriter_delay: "10s" }),
    (server) => server.sql("ALTER DATABASE postgres SET synchronous_commit = off")
  )
)

/** Loads the store anew, with a change of its SQL. */
const load = (mutant: Mutant | undefined): Effect.Effect<Stores> =>
  Effect.promise(async () => {
    vi.resetModules()
    vi.doMock("../../src/leader/PostgresSql.ts", async (original) => {
      const sql = await original<Statements>()
      if (mutant === undefined) return sql
      const changed = sql[mutant.statement].replace(mutant.from, mutant.to)
      assert.notStrictEqual(changed, sql[mutant.statement], "the text to replace is not in the statement")
      return { ...sql, [mutant.statement]: changed }
    })
    return import("../../src/leader/PostgresLeaseStore.ts")
  })

const run = (check: Check, mutant: Mutant | undefined) =>
  Effect.gen(function*() {
    const [server, stores] = [yield* getServer, yield* load(mutant)]
    const store = yield* stores.make({
      url: server.url(),
      attemptTimeout: Duration.millis(mutant === undefined ? 1000 : 400)
    })
    yield* check({ server, store, stores })
  }).pipe(Effect.scoped)

const { describe, live } = unless(Postgres.noPostgres)
const checks = {
  likeSimulated,
  comparesEachField,
  isDurable,
  survivesUpgrade,
  survivesDeletion,
  survivesFailover,
  leavesNoWaiter,
  ignoresSearchPath
}

describe("the SQL of the store", () => {
  for (const [name, check] of Object.entries(checks)) {
    live(`is clean without a mistake: ${name}`, () => run(check, undefined))
  }
  for (const mutant of mutants) {
    live(`with this mistake is found: ${mutant.name}`, () =>
      Effect.gen(function*() {
        const answer = yield* Effect.either(Effect.sandbox(run(mutant.check, mutant)))
        assert.isTrue(Either.isLeft(answer), "no check has failed")
        if (Either.isLeft(answer)) assert.notInclude(String(answer.left), "the text to replace")
      }))
  }
})
