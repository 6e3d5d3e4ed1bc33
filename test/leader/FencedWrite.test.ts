/** Which forms of a fenced write are safe on a real PostgreSQL server, and that writers do not keep a leader from renewing. */
import { Reactivity } from "@effect/experimental"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { assert } from "@effect/vitest"
import { Deferred, Duration, Effect, Either, Fiber, Option, Redacted } from "effect"
import { randomUUID } from "node:crypto"
import * as FencedWrite from "../../src/leader/FencedWrite.ts"
import type { Grant, StoreError } from "../../src/leader/LeaseStore.ts"
import * as PostgresLeaseStore from "../../src/leader/PostgresLeaseStore.ts"
import * as Postgres from "../fixtures/postgres.ts"
import { shared } from "../fixtures/sharedResource.ts"
import { unless } from "../fixtures/skips.ts"
import { acquire, claimOf } from "./leaseStoreContract.ts"

const getServer = shared(
  Postgres.noPostgres,
  Effect.tap(
    Postgres.startPostgres(),
    (server) => server.sql("CREATE TABLE work (id serial PRIMARY KEY, token bigint NOT NULL)")
  )
)
const { describe, scopedLive } = unless(Postgres.noPostgres)

/** A leader, a store that takes over from it, and an app's client with as many connections. */
const scene = (connections: number, user = "postgres") =>
  Effect.gen(function*() {
    const server = yield* getServer
    const leader = yield* PostgresLeaseStore.make({ url: server.url(), attemptTimeout: "2 seconds" })
    const other = yield* PostgresLeaseStore.make({ url: server.url(), attemptTimeout: "20 seconds" })
    const grant = yield* acquire(leader, claimOf(randomUUID()))
    // A store refuses a table without its key, but looks at the table only once.
    yield* other.look(grant.name)
    const sql = yield* PgClient.make({ url: Redacted.make(server.url({ user })), maxConnections: connections }).pipe(
      Effect.provide(Reactivity.layer)
    )
    return { server, leader, other, grant, sql, takeOver: acquire(other, claimOf(grant.name)) }
  })

const write = (token: bigint) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO work (token) VALUES (${String(token)}::bigint)`)

const written = (server: Postgres.PostgresServer, { fencingToken }: Grant) =>
  Effect.map(
    server.sql(`SELECT count(*)::int AS n FROM work WHERE token = ${fencingToken}`),
    ([row]) => row?.["n"]
  )

/** A write whose check has passed, and that waits before it writes. Meanwhile another host takes over, if it can. */
const lateWrite = <E>(
  check: (grant: Grant) => Effect.Effect<unknown, E, SqlClient.SqlClient>,
  before: (server: Postgres.PostgresServer) => Effect.Effect<unknown, Postgres.EngineFailed> = () => Effect.void
) =>
  Effect.gen(function*() {
    const { grant, server, sql, takeOver } = yield* scene(5)
    yield* before(server)
    const checked = yield* Deferred.make<void>()
    const go = yield* Deferred.make<void>()
    const writing = yield* sql.withTransaction(Effect.gen(function*() {
      yield* check(grant)
      yield* Deferred.succeed(checked, undefined)
      yield* Deferred.await(go)
      yield* write(grant.fencingToken)
    })).pipe(Effect.provideService(SqlClient.SqlClient, sql), Effect.fork)
    yield* Deferred.await(checked)
    const next = yield* Effect.fork(takeOver)
    /** Whether another host has led before the write was committed. */
    const isTakenOver = Effect.map(Fiber.poll(next), Option.isSome)
    const isWaiting = Effect.map(
      server.sql("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%greatest%'"),
      ({ length }) => length > 0
    )
    yield* Effect.repeat(Effect.zipWith(isTakenOver, isWaiting, (a, b) => a || b), { until: (isDone) => isDone })
    const wasLate = yield* isTakenOver
    yield* Deferred.succeed(go, undefined)
    yield* Fiber.join(writing)
    yield* Fiber.join(next)
    assert.strictEqual(yield* written(server, grant), 1)
    return wasLate
  })

const dropKey = (server: Postgres.PostgresServer) =>
  server.sql("ALTER TABLE gateway_lock.lease DROP CONSTRAINT lease_name_fencing_token_key")
const addKey = (server: Postgres.PostgresServer) =>
  server.sql("ALTER TABLE gateway_lock.lease ADD CONSTRAINT lease_name_fencing_token_key UNIQUE (name, fencing_token)")

describe("a fenced write", () => {
  scopedLive("delays a takeover until it is committed", () =>
    Effect.gen(function*() {
      assert.isFalse(yield* lateWrite(FencedWrite.check))
    }))

  scopedLive(
    "by hand needs the lock of the row, and the key of the table: with both it delays a takeover",
    () =>
      Effect.gen(function*() {
        const server = yield* getServer
        const byHand = (lock: string) => ({ fencingToken, name }: Grant) =>
          Effect.flatMap(SqlClient.SqlClient, (sql) =>
            sql.unsafe(
              `SELECT FROM gateway_lock.lease WHERE name = $1 AND fencing_token = $2::bigint ${lock}`,
              [name, String(fencingToken)]
            ))
        assert.isTrue(yield* lateWrite(byHand("")))
        assert.isFalse(yield* lateWrite(byHand("FOR KEY SHARE")))
        const withoutKey = lateWrite(byHand("FOR KEY SHARE"), dropKey)
        assert.isTrue(yield* Effect.ensuring(withoutKey, Effect.orDie(addKey(server))))
      })
  )

  scopedLive("fails with a token that is not the present one, and writes nothing", () =>
    Effect.gen(function*() {
      const { grant, leader, server, sql, takeOver } = yield* scene(2)
      const fenced = (fence: FencedWrite.Fence) =>
        Effect.either(write(fence.fencingToken).pipe(FencedWrite.fenced(fence))).pipe(
          Effect.provideService(SqlClient.SqlClient, sql)
        )
      assert.isTrue(Either.isRight(yield* fenced(grant)))
      const next = yield* takeOver
      const stale = [grant, { ...grant, fencingToken: next.fencingToken + 1n }, { ...next, name: "absent" }]
      for (const fence of stale) {
        const answer = yield* fenced(fence)
        assert.deepInclude(Either.getLeft(answer).pipe(Option.getOrThrow), {
          _tag: "StaleFencingToken",
          lease: fence.name,
          fencingToken: fence.fencingToken
        })
      }
      assert.strictEqual(yield* written(server, grant), 1)
      yield* leader.release(next)
      assert.isTrue(Either.isLeft(yield* fenced(next)))
      assert.strictEqual(yield* written(server, next), 0)
    }))

  scopedLive("is undone if the effect fails, and joins an outer transaction", () =>
    Effect.gen(function*() {
      const { grant, server, sql } = yield* scene(2)
      const failing = Effect.zipRight(write(grant.fencingToken), Effect.fail("no")).pipe(FencedWrite.fenced(grant))
      assert.isTrue(Either.isLeft(yield* Effect.either(Effect.provideService(failing, SqlClient.SqlClient, sql))))
      assert.strictEqual(yield* written(server, grant), 0)
      const outer = sql.withTransaction(Effect.all([
        write(grant.fencingToken),
        write(grant.fencingToken).pipe(FencedWrite.fenced(grant))
      ]))
      yield* Effect.provideService(outer, SqlClient.SqlClient, sql)
      assert.strictEqual(yield* written(server, grant), 2)
    }))

  scopedLive("needs the rights that its documentation names, and no more", () =>
    Effect.gen(function*() {
      const server = yield* getServer
      yield* scene(1)
      yield* server.sql(
        "CREATE ROLE app LOGIN; GRANT INSERT ON work TO app; GRANT USAGE ON SEQUENCE work_id_seq TO app; "
          + "GRANT USAGE ON SCHEMA gateway_lock TO app; GRANT SELECT ON gateway_lock.lease TO app"
      )
      const { grant, sql } = yield* scene(1, "app")
      const fenced = Effect.either(write(grant.fencingToken).pipe(FencedWrite.fenced(grant))).pipe(
        Effect.provideService(SqlClient.SqlClient, sql)
      )
      assert.deepInclude(Either.getLeft(yield* fenced).pipe(Option.getOrThrow), { _tag: "SqlError" })
      yield* server.sql("GRANT SELECT, UPDATE (resign_token) ON gateway_lock.lease TO app")
      assert.isTrue(Either.isRight(yield* fenced))
    }))

  scopedLive(
    "of forty writers at one time delays neither renewals nor, for long, a takeover",
    () =>
      Effect.gen(function*() {
        const { grant, leader, sql, takeOver } = yield* scene(40)
        const writing = Effect.zipRight(write(grant.fencingToken), Effect.sleep("20 millis")).pipe(
          FencedWrite.fenced(grant),
          Effect.provideService(SqlClient.SqlClient, sql)
        )
        const writers = yield* Effect.fork(
          Effect.all(Array.from({ length: 40 }, () => Effect.forever(writing)), { concurrency: "unbounded" })
        )
        const answers = yield* Effect.forEach(
          Array.from({ length: 20 }),
          () => Effect.zipRight(Effect.sleep("20 millis"), Effect.either(leader.renew(grant)))
        )
        assert.deepStrictEqual(
          answers.map((answer: Either.Either<unknown, StoreError>) => Either.getOrElse(answer, String)),
          answers.map(() => "Renewed")
        )
        // Without a queue, a takeover under this load took 11 seconds, and sometimes more than 20.
        const [time, next] = yield* Effect.timed(takeOver)
        assert.isBelow(Duration.toMillis(time), 3000)
        assert.isTrue(grant.fencingToken < next.fencingToken)
        const error = yield* Effect.flip(Fiber.join(writers))
        assert.propertyVal(error, "_tag", "StaleFencingToken")
      })
  )
})
