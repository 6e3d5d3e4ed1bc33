/** Faults of a real PostgreSQL server and of the way to it: what a store does, and that tokens only grow. */
import { assert } from "@effect/vitest"
import { Duration, Effect, Either, Exit, Fiber, Option } from "effect"
import { randomUUID } from "node:crypto"
import type { Sighting, StoreError } from "../../src/leader/LeaseStore.ts"
import * as PostgresLeaseStore from "../../src/leader/PostgresLeaseStore.ts"
import * as Postgres from "../fixtures/postgres.ts"
import { shared } from "../fixtures/sharedResource.ts"
import { unless } from "../fixtures/skips.ts"
import { startProxy } from "../fixtures/tcpProxy.ts"
import { acquire, claimOf, ensure } from "./leaseStoreContract.ts"

const getServer = shared(Postgres.noPostgres, Postgres.startPostgres({ wal_writer_delay: "10s" }))
const { describe, scopedLive } = unless(Postgres.noPostgres)

const connect = (url: string, options: Partial<PostgresLeaseStore.PostgresOptions> = {}) =>
  PostgresLeaseStore.make({ url, attemptTimeout: "10 seconds", ...options })

/** For tests that wait for the end of an attempt. A busy machine can need longer for a single one. */
const quick = { attemptTimeout: Duration.millis(400) }
const settled = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> => Effect.retry(effect, { times: 50 })

const seen = (
  store: Effect.Effect.Success<ReturnType<typeof connect>>,
  name: string
): Effect.Effect<Sighting, StoreError> => Effect.map(store.look(name), Option.getOrThrow)

const counterBits = 40n

/** The processes of the server that serve connections of a store. */
const backends = (server: Postgres.PostgresServer) =>
  Effect.map(
    server.sql(
      "SELECT pid, wait_event_type AS waits FROM pg_stat_activity WHERE application_name = 'gateway-lock' ORDER BY pid"
    ),
    (rows) => rows.map(({ pid, waits }) => ({ pid: Number(pid), isWaiting: waits === "Lock" }))
  )

/** The number of idle connections of a store whose last statement contains this text. */
const idleAfter = (server: Postgres.PostgresServer, text: string) =>
  Effect.map(
    server.sql(
      `SELECT FROM pg_stat_activity WHERE application_name = 'gateway-lock' AND state = 'idle' AND query LIKE '%${text}%'`
    ),
    ({ length }) => length
  )

const until = <A, E>(effect: Effect.Effect<A, E>, isReached: (value: A) => boolean) =>
  Effect.repeat(Effect.delay(effect, "5 millis"), { until: isReached, times: 2000 })

const elapsed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.timed(effect), ([time, answer]) => [Duration.toMillis(time), answer] as const)

describe("connections", () => {
  scopedLive(
    "are one for a candidate and two for a leader, which are used in turn, and none once the store is closed",
    () =>
      Effect.gen(function*() {
        const server = yield* getServer
        yield* Effect.gen(function*() {
          const store = yield* connect(server.url())
          const name = randomUUID()
          for (let round = 0; round < 5; round++) yield* ensure(store, name)
          assert.lengthOf(yield* backends(server), 1)
          const grant = yield* acquire(store, claimOf(name))
          yield* store.renew(grant)
          yield* until(backends(server), ({ length }) => length === 2)
          for (let round = 0; round < 5; round++) yield* store.renew(grant)
          const [started] = yield* server.sql(
            "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'gateway-lock' AND query LIKE '%renewals + 1%'"
          )
          assert.strictEqual(started?.["n"], 2)
          assert.lengthOf(yield* backends(server), 2)
        }).pipe(Effect.scoped)
        yield* until(backends(server), ({ length }) => length === 0)
      })
  )

  scopedLive("that the server ends while they are idle are replaced without a failure", () =>
    Effect.gen(function*() {
      const server = yield* getServer
      const store = yield* connect(server.url())
      const grant = yield* acquire(store, claimOf(randomUUID()))
      yield* store.renew(grant)
      yield* until(backends(server), ({ length }) => length === 2)
      yield* server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gateway-lock'"
      )
      yield* until(backends(server), ({ length }) => length === 0)
      assert.strictEqual(yield* store.renew(grant), "Renewed")
    }))

  scopedLive(
    "that the server ends during a statement fail it, and the next attempt succeeds",
    () =>
      Effect.gen(function*() {
        const server = yield* getServer
        const store = yield* connect(server.url())
        const grant = yield* acquire(store, claimOf(randomUUID()))
        yield* store.renew(grant)
        const lock = yield* Postgres.lockRow(server, "postgres", grant.name)
        const renewal = yield* Effect.fork(Effect.either(store.renew(grant)))
        yield* until(backends(server), (all) => all.some(({ isWaiting }) => isWaiting))
        yield* server.sql(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gateway-lock' AND wait_event_type = 'Lock'"
        )
        const answer = yield* Fiber.join(renewal)
        assert.deepInclude(Either.getLeft(answer).pipe(Option.getOrThrow), { _tag: "StoreFailed" })
        yield* lock.release
        assert.strictEqual(yield* store.renew(grant), "Renewed")
      })
  )

  scopedLive(
    "are ended at once by an interruption, and the server's process does not wait for ever",
    () =>
      Effect.gen(function*() {
        const server = yield* getServer
        const store = yield* connect(server.url(), quick)
        const grant = yield* settled(acquire(store, claimOf(randomUUID())))
        yield* settled(store.renew(grant))
        const lock = yield* Postgres.lockRow(server, "postgres", grant.name)
        const renewal = yield* Effect.fork(store.renew(grant))
        yield* until(backends(server), (all) => all.some(({ isWaiting }) => isWaiting))
        const [time] = yield* elapsed(Fiber.interrupt(renewal))
        assert.isBelow(time, 100)
        // The server notices the end of the client only when it stops to wait.
        yield* until(backends(server), (all) => all.every(({ isWaiting }) => !isWaiting))
        yield* lock.release
        assert.strictEqual(yield* settled(store.renew(grant)), "Renewed")
      })
  )

  scopedLive("do not pile up while a user has locked the row", () =>
    Effect.gen(function*() {
      const server = yield* getServer
      const store = yield* connect(server.url(), quick)
      const grant = yield* settled(acquire(store, claimOf(randomUUID())))
      const lock = yield* Postgres.lockRow(server, "postgres", grant.name)
      for (let round = 0; round < 5; round++) {
        const [time, answer] = yield* elapsed(Effect.either(store.renew(grant)))
        assert.isTrue(Either.isLeft(answer))
        assert.isBelow(time, 1500)
      }
      assert.isAtMost((yield* backends(server)).filter(({ isWaiting }) => isWaiting).length, 2)
      // A look needs no lock.
      assert.isTrue(Option.isSome(yield* settled(store.look(grant.name))))
      yield* lock.release
      assert.strictEqual(yield* settled(store.renew(grant)), "Renewed")
    }))

  scopedLive(
    "that a firewall has forgotten cost one attempt, as soon as a new one is open",
    () =>
      Effect.gen(function*() {
        const server = yield* getServer
        const proxy = yield* startProxy(server.port)
        const store = yield* connect(server.url({ port: proxy.port }), quick)
        const grant = yield* settled(acquire(store, claimOf(randomUUID())))
        yield* settled(store.renew(grant))
        yield* until(Effect.zipRight(settled(store.renew(grant)), idleAfter(server, "renewals + 1")), (count) =>
          count === 2)
        yield* proxy.freeze
        const [time, answer] = yield* elapsed(Effect.either(store.renew(grant)))
        assert.isTrue(Either.isLeft(answer))
        assert.isBelow(time, 1500)
        yield* until(idleAfter(server, "LISTEN"), (count) =>
          count === 1)
        assert.strictEqual(yield* settled(store.renew(grant)), "Renewed")
      })
  )

  scopedLive(
    "that nobody answers end an attempt in time, and go on to open for the next one",
    () =>
      Effect.gen(function*() {
        const server = yield* getServer
        const proxy = yield* startProxy(server.port)
        const store = yield* connect(server.url({ port: proxy.port }), quick)
        yield* proxy.setBlackHole(true)
        const [time, answer] = yield* elapsed(Effect.either(store.look("a")))
        assert.isTrue(Either.isLeft(answer))
        assert.isBelow(time, 1500)
        yield* proxy.setBlackHole(false)
        // Two round trips of 0.15 s fit in one attempt, but a new connection needs more of them.
        yield* proxy.reset
        yield* proxy.setDelay(75)
        const refused = yield* Effect.exit(store.look("a"))
        assert.isTrue(Exit.isFailure(refused))
        yield* Effect.retry(store.look("a"), { times: 30 })
      })
  )

  scopedLive("are refused by a server that is down, and are made once it is up", () =>
    Effect.gen(function*() {
      const server = yield* Postgres.startPostgres()
      const store = yield* connect(server.url())
      const grant = yield* acquire(store, claimOf("a"))
      yield* server.stop
      const answer = yield* Effect.either(store.renew(grant))
      assert.deepInclude(Either.getLeft(answer).pipe(Option.getOrThrow), { _tag: "StoreFailed" })
      yield* server.start
      assert.strictEqual(yield* store.renew(grant), "Renewed")
    }))
})

describe("hints", () => {
  scopedLive("do not let a flood of notifications become a flood of looks", () =>
    Effect.gen(function*() {
      const server = yield* getServer
      const store = yield* connect(server.url())
      yield* ensure(store, "flooded")
      const session = yield* server.session()
      const flood = yield* Effect.fork(Effect.forever(session("NOTIFY gateway_lock, 'flooded'")))
      const [time] = yield* elapsed(Effect.repeatN(store.changed("flooded"), 9))
      assert.isAtLeast(time, 400)
      yield* Fiber.interrupt(flood)
    }))

  scopedLive("for another lease wake nobody", () =>
    Effect.gen(function*() {
      const server = yield* getServer
      const store = yield* connect(server.url())
      yield* ensure(store, "quiet")
      const hint = yield* Effect.fork(store.changed("quiet"))
      yield* Effect.yieldNow()
      yield* server.sql("NOTIFY gateway_lock, 'other'; NOTIFY gateway_lock, 'quiet '; NOTIFY gateway_lock")
      yield* ensure(store, "quiet")
      assert.isTrue(Option.isNone(yield* Fiber.poll(hint)))
      yield* server.sql("NOTIFY gateway_lock, 'quiet'")
      yield* Fiber.join(hint)
    }))
})

describe("tokens", () => {
  scopedLive(
    "never repeat over crashes of the server, even if its default is not to wait for the disk",
    () =>
      Effect.gen(function*() {
        const server = yield* getServer
        yield* server.sql("CREATE DATABASE lazy")
        yield* server.sql("ALTER DATABASE lazy SET synchronous_commit = off")
        const name = randomUUID()
        let highest = 0n
        for (let round = 0; round < 3; round++) {
          const store = yield* connect(server.url({ database: "lazy" }))
          const grant = yield* acquire(store, claimOf(name))
          assert.isTrue(highest < grant.fencingToken)
          highest = grant.fencingToken
          yield* server.crash
          yield* server.start
          const after = yield* seen(store, name)
          assert.deepStrictEqual([after.holderId, after.fencingToken], [Option.some(grant.holderId), highest])
        }
      })
  )

  scopedLive("would repeat there without that part of the statement, as a control", () =>
    Effect.gen(function*() {
      const server = yield* getServer
      yield* server.sql("CREATE DATABASE control")
      const store = yield* connect(server.url({ database: "control" }))
      const grant = yield* acquire(store, claimOf("a"))
      yield* server.sql("CHECKPOINT; ALTER DATABASE control SET synchronous_commit = off")
      yield* server.sql("UPDATE gateway_lock.lease SET fencing_token = fencing_token + 1", "control")
      yield* server.crash
      yield* server.start
      assert.strictEqual((yield* seen(store, "a")).fencingToken, grant.fencingToken)
    }))

  scopedLive(
    "grow over a deleted row and over a table that was moved to a new installation",
    () =>
      Effect.gen(function*() {
        const server = yield* getServer
        const store = yield* connect(server.url())
        const name = randomUUID()
        const first = yield* acquire(store, claimOf(name))
        yield* server.sql(`DELETE FROM gateway_lock.lease WHERE name = '${name}'`)
        assert.strictEqual(yield* store.renew(first), "Lost")
        const second = yield* acquire(store, claimOf(name))
        assert.isTrue(first.fencingToken < second.fencingToken)
        // The former installation had reached a high timeline before pg_upgrade.
        yield* server.sql(
          `UPDATE gateway_lock.lease SET system_identifier = 1, fencing_token = (900::bigint << 40) + 5 WHERE name = '${name}'`
        )
        const moved = yield* seen(store, name)
        assert.isTrue(moved.epoch > 900n)
        const third = yield* acquire(store, claimOf(name))
        assert.strictEqual(third.fencingToken >> counterBits, moved.epoch)
        assert.strictEqual((yield* seen(store, name)).epoch, moved.epoch)
        const fourth = yield* acquire(store, claimOf(name))
        assert.strictEqual(fourth.fencingToken, third.fencingToken + 1n)
      })
  )

  scopedLive(
    "go back with a table that was restored from a backup, so that a host that remembers them can refuse",
    () =>
      Effect.gen(function*() {
        const server = yield* getServer
        const store = yield* connect(server.url())
        const name = randomUUID()
        yield* acquire(store, claimOf(name))
        yield* server.sql(`CREATE TABLE backup AS SELECT * FROM gateway_lock.lease WHERE name = '${name}'`)
        const lost = yield* acquire(store, claimOf(name))
        yield* server.sql(
          `DELETE FROM gateway_lock.lease WHERE name = '${name}'; INSERT INTO gateway_lock.lease SELECT * FROM backup; DROP TABLE backup`
        )
        assert.strictEqual(yield* store.renew(lost), "Lost")
        assert.strictEqual((yield* acquire(store, claimOf(name))).fencingToken, lost.fencingToken)
      })
  )
})

describe("an asynchronous replica", () => {
  /** A primary, and a replica that no longer receives what the primary commits. */
  const failedOver = (
    name: string,
    before: (store: Effect.Effect.Success<ReturnType<typeof connect>>) => Effect.Effect<unknown, StoreError>
  ) =>
    Effect.gen(function*() {
      const primary = yield* Postgres.startPostgres()
      const former = yield* connect(primary.url())
      yield* ensure(former, name)
      const replica = yield* Postgres.startReplica(primary)
      const store = yield* connect(replica.url())
      yield* before(former)
      const [position] = yield* primary.sql("SELECT pg_current_wal_flush_lsn()::text AS lsn")
      yield* until(
        replica.sql(`SELECT pg_last_wal_replay_lsn() >= '${String(position?.["lsn"])}' AS reached`),
        ([row]) => row?.["reached"] === true
      )
      yield* replica.sql("ALTER SYSTEM SET primary_conninfo = ''")
      yield* replica.sql("SELECT pg_reload_conf()")
      yield* until(replica.sql("SELECT FROM pg_stat_wal_receiver"), (rows) => rows.length === 0)
      return { primary, replica, former, store }
    })

  scopedLive(
    "is waited for, and after a promotion that lost a grant its tokens are higher",
    () =>
      Effect.gen(function*() {
        const { former, primary, replica, store } = yield* failedOver("a", (store) => acquire(store, claimOf("a")))
        const lost = yield* acquire(former, claimOf("a"))
        const old = yield* seen(former, "a")
        for (const operation of [store.look("a"), store.create(claimOf("a")), store.renew(lost), store.release(lost)]) {
          const answer = yield* Effect.either<unknown, StoreError, never>(operation)
          assert.deepInclude(Either.getLeft(answer).pipe(Option.getOrThrow), { _tag: "StoreFailed" })
        }
        yield* primary.crash
        yield* replica.promote
        const sighting = yield* seen(store, "a")
        assert.isTrue(sighting.fencingToken < lost.fencingToken)
        assert.strictEqual(sighting.epoch, old.epoch + 1n)
        assert.strictEqual(sighting.fencingToken >> counterBits, old.epoch)
        assert.strictEqual(yield* store.renew(lost), "Lost")
        // The look was answered by the former server, and the update reaches the present one.
        assert.isTrue(Option.isNone(yield* store.acquire({ ...sighting, epoch: old.epoch }, claimOf("a"))))
        assert.isTrue(Option.isNone(yield* store.acquire(old, claimOf("a"))))
        const next = Option.getOrThrow(yield* store.acquire(sighting, claimOf("a")))
        assert.isTrue(lost.fencingToken < next.fencingToken)
        assert.strictEqual(next.fencingToken >> counterBits, sighting.epoch)
      })
  )

  scopedLive(
    "that lost a release and a later grant shows a lease that is not of its epoch",
    () =>
      Effect.gen(function*() {
        const { former, primary, replica, store } = yield* failedOver(
          "a",
          (store) => Effect.flatMap(acquire(store, claimOf("a")), store.release)
        )
        const grant = yield* acquire(former, claimOf("a"))
        yield* primary.crash
        yield* replica.promote
        const sighting = yield* seen(store, "a")
        assert.isTrue(Option.isNone(sighting.holderId))
        // So a candidate waits, although the lease looks released: the lost grant may still be used.
        assert.notStrictEqual(sighting.fencingToken >> counterBits, sighting.epoch)
        assert.isTrue(grant.fencingToken < (yield* acquire(store, claimOf("a"))).fencingToken)
      })
  )
})
