/**
 * Leaders on real PostgreSQL servers, under faults that take long. The judge has a journal of its own: when which work ran, with
 * which token, by the monotonic clock of this process. It asks neither the leaders nor the server.
 */
import { assert } from "@effect/vitest"
import { Duration, Effect, Fiber, Logger, LogLevel, Option, Random } from "effect"
import { randomUUID } from "node:crypto"
import * as Leadership from "../../src/leader/Leadership.ts"
import { LeaseStore } from "../../src/leader/LeaseStore.ts"
import * as PostgresLeaseStore from "../../src/leader/PostgresLeaseStore.ts"
import * as Postgres from "../fixtures/postgres.ts"
import { shared } from "../fixtures/sharedResource.ts"
import { unless } from "../fixtures/skips.ts"
import { startProxy } from "../fixtures/tcpProxy.ts"
import { acquire, claimOf, ensure, leaseStoreContract, tableTraits } from "../leader/leaseStoreContract.ts"

const { describe, scopedLive } = unless(Postgres.noPgbouncer)

const getServer = shared(
  Postgres.noPgbouncer,
  Effect.tap(
    Postgres.startPostgres({ wal_writer_delay: "10s" }),
    (server) =>
      server.sql(
        "CREATE ROLE serial LOGIN SUPERUSER; ALTER ROLE serial SET default_transaction_isolation = serializable"
      )
  )
)

leaseStoreContract("a lease in PostgreSQL for a role whose transactions are serializable", {
  traits: { ...tableTraits, refusedNames: ["1 MB", "a NUL character", "half of a surrogate pair"] },
  connect: Effect.flatMap(
    getServer,
    (server) => PostgresLeaseStore.make({ url: server.url({ user: "serial" }), attemptTimeout: "10 seconds" })
  )
}, { scopedLive })

/** Times that fit together, a fifth of the defaults or less. */
const times = {
  duration: "3 seconds",
  renewInterval: "400 millis",
  attemptTimeout: "500 millis",
  renewDeadline: "1800 millis",
  stopTimeout: "400 millis"
} as const
const deadline = 1800
const bound = 3000 + 400 + 500

interface Term {
  readonly host: number
  readonly token: bigint
  readonly from: number
  until: number
}

/** When work ran. The work notes its end itself, so that work that goes on is seen. */
class Journal {
  readonly terms: Array<Term> = []
  now(): number {
    return performance.now()
  }
  begin(host: number, token: bigint): Term {
    const term = { host, token, from: this.now(), until: Number.POSITIVE_INFINITY }
    this.terms.push(term)
    return term
  }
  /** Asserts that no two terms overlap, and that tokens grow. */
  judge(): void {
    const sorted = this.terms.toSorted((a, b) => a.from - b.from)
    for (const [at, term] of sorted.entries()) {
      const next = sorted[at + 1]
      if (next === undefined) continue
      assert.isTrue(term.until <= next.from, `hosts ${term.host} and ${next.host} act at one time`)
      assert.isTrue(term.token < next.token, `token ${next.token} after ${term.token}`)
    }
  }
}

/** Leads once, works while it leads, and returns why it ended. */
const leadOnce = (
  journal: Journal,
  host: number,
  store: LeaseStore["Type"],
  name: string,
  work: Effect.Effect<unknown>
) =>
  Effect.gen(function*() {
    const leader = yield* Leadership.make({ lease: { ...times, name } })
    const working = Effect.acquireUseRelease(
      Effect.sync(() => journal.begin(host, leader.fencingToken)),
      () => work,
      (term) =>
        Effect.sync(() => {
          term.until = journal.now()
        })
    )
    return yield* Effect.either(leader.whileLeader(working))
  }).pipe(Effect.scoped, Effect.provideService(LeaseStore, store), Logger.withMinimumLogLevel(LogLevel.Error))

/** A candidate that leads until its fiber is interrupted, again and again. */
const candidate = (journal: Journal, host: number, url: string, name: string) =>
  Effect.gen(function*() {
    const store = yield* PostgresLeaseStore.make({ url, attemptTimeout: times.attemptTimeout })
    const losses: Array<string> = []
    const run = Effect.forever(Effect.gen(function*() {
      const end = yield* Effect.either(leadOnce(journal, host, store, name, Effect.never))
      if (end._tag === "Left") losses.push(end.left.message)
      else if (end.right._tag === "Left") losses.push(end.right.left.message)
    }))
    const fiber = yield* Effect.fork(run)
    return { fiber, losses }
  })

const isLed = (journal: Journal) =>
  Effect.sync(() => journal.terms.some(({ until }) => until === Number.POSITIVE_INFINITY))

const wait = <E, R>(condition: Effect.Effect<boolean, E, R>) =>
  Effect.repeat(Effect.delay(condition, "5 millis"), { until: (isTrue) => isTrue, times: 20_000 })

describe("twenty candidates", () => {
  scopedLive(
    "hand over a hundred times, half of them behind a pooler without notifications",
    () =>
      Effect.gen(function*() {
        const server = yield* getServer
        const pooler = yield* Postgres.startPgbouncer(server)
        const [name, journal] = [randomUUID(), new Journal()]
        const turns: Array<number> = []
        const hosts = Array.from({ length: 20 }, (_, host) =>
          Effect.gen(function*() {
            const url = host % 2 === 0 ? server.url() : pooler.url()
            const store = yield* PostgresLeaseStore.make({ url, attemptTimeout: times.attemptTimeout })
            while (turns.length < 100) {
              yield* leadOnce(
                journal,
                host,
                store,
                name,
                Effect.zipRight(
                  Effect.flatMap(Random.nextIntBetween(0, 20), Effect.sleep),
                  Effect.sync(() => turns.push(host))
                )
              )
            }
          }))
        const work = yield* Effect.fork(Effect.all(hosts, { concurrency: "unbounded" }))
        yield* wait(Effect.sync(() => turns.length >= 100))
        yield* Fiber.interrupt(work)
        journal.judge()
        assert.isAtLeast(new Set(journal.terms.map(({ host }) => host)).size, 5)
      })
  )
})

describe("a leader", () => {
  /** A leader and a candidate, with a proxy for the leader. */
  const scene = Effect.gen(function*() {
    const server = yield* getServer
    const proxy = yield* startProxy(server.port)
    const [name, journal] = [randomUUID(), new Journal()]
    yield* Effect.scoped(
      Effect.flatMap(
        PostgresLeaseStore.make({ url: server.url() }),
        (store) => Effect.flatMap(acquire(store, claimOf(name)), store.release)
      )
    )
    const one = yield* candidate(journal, 1, server.url({ port: proxy.port }), name)
    yield* wait(isLed(journal))
    const other = yield* candidate(journal, 2, server.url(), name)
    return { server, proxy, name, journal, one, other }
  })

  scopedLive(
    "keeps its lease while the server ends its connections, or crashes and is back within the deadline",
    () =>
      Effect.gen(function*() {
        const { journal, one, server } = yield* scene
        for (let round = 0; round < 15; round++) {
          yield* server.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gateway-lock'"
          )
          yield* Effect.sleep("200 millis")
        }
        for (let round = 0; round < 3; round++) {
          yield* server.crash
          yield* server.start
          yield* Effect.sleep("1 second")
        }
        assert.lengthOf(journal.terms, 1)
        assert.deepStrictEqual(one.losses, [])
      })
  )

  scopedLive(
    "keeps its lease at a round trip that is shorter than an attempt, and stops at its deadline at a longer one",
    () =>
      Effect.gen(function*() {
        const { journal, proxy } = yield* scene
        yield* proxy.setDelay(200)
        yield* Effect.sleep("8 seconds")
        assert.lengthOf(journal.terms, 1)
        yield* proxy.setDelay(2000)
        const slowSince = journal.now()
        yield* wait(Effect.sync(() => journal.terms.length === 2))
        const [first, second] = journal.terms
        assert.isBelow((first?.until ?? 0) - slowSince, deadline + 400)
        assert.strictEqual(second?.host, 2)
        // A renewal that was sent before the deadline still reaches the server, after the delay.
        assert.isBelow((second?.from ?? 0) - slowSince, deadline + 2000 + bound)
        journal.judge()
      })
  )

  scopedLive("that cannot reach the server stops before the other one leads", () =>
    Effect.gen(function*() {
      const { journal, one, proxy } = yield* scene
      yield* proxy.setBlackHole(true)
      yield* proxy.freeze
      yield* wait(Effect.sync(() => journal.terms.length === 2))
      assert.match(one.losses.join(), /it was not renewed within/)
      journal.judge()
    }))

  scopedLive(
    "whose row a user locks for longer than its deadline stops, and nobody leads until the row is free",
    () =>
      Effect.gen(function*() {
        const { journal, name, server } = yield* scene
        const lock = yield* Postgres.lockRow(server, "postgres", name)
        yield* wait(Effect.sync(() => journal.terms[0]?.until !== Number.POSITIVE_INFINITY))
        yield* Effect.sleep("4 seconds")
        assert.lengthOf(journal.terms, 1)
        const [backends] = yield* server.sql(
          "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'gateway-lock'"
        )
        assert.isAtMost(Number(backends?.["n"]), 6)
        yield* lock.release
        yield* wait(Effect.sync(() => journal.terms.length === 2))
        journal.judge()
      })
  )
})

describe("tokens", () => {
  scopedLive(
    "of five candidates are unique over twenty crashes of a server whose default is not to wait for the disk",
    () =>
      Effect.gen(function*() {
        const server = yield* getServer
        yield* server.sql("CREATE DATABASE lazy")
        yield* server.sql("ALTER DATABASE lazy SET synchronous_commit = off")
        const name = randomUUID()
        const granted: Array<bigint> = []
        const taking = Effect.gen(function*() {
          const store = yield* PostgresLeaseStore.make({
            url: server.url({ database: "lazy" }),
            attemptTimeout: "1 second"
          })
          const take = Effect.gen(function*() {
            const sighting = yield* ensure(store, name)
            const grant = yield* store.acquire(sighting, claimOf(name))
            if (Option.isSome(grant)) granted.push(grant.value.fencingToken)
          })
          return yield* Effect.forever(Effect.zipRight(Effect.ignore(take), Effect.sleep("1 millis")))
        })
        yield* Effect.fork(Effect.all(Array.from({ length: 5 }, () => taking), { concurrency: "unbounded" }))
        for (let round = 0; round < 20; round++) {
          const before = granted.length
          yield* wait(Effect.sync(() => granted.length >= before + 20))
          yield* Effect.flatMap(Random.nextIntBetween(0, 50), (millis) => Effect.sleep(Duration.millis(millis)))
          yield* server.crash
          yield* server.start
        }
        assert.isAtLeast(granted.length, 400)
        assert.strictEqual(new Set(granted).size, granted.length)
      })
  )

  scopedLive(
    "of a chain of promoted replicas are unique, although each promotion loses the last grants",
    () =>
      Effect.gen(function*() {
        let server = yield* Postgres.startPostgres()
        const granted: Array<bigint> = []
        for (let round = 0; round < 4; round++) {
          const store = yield* PostgresLeaseStore.make({ url: server.url() })
          granted.push((yield* acquire(store, claimOf("a"))).fencingToken)
          const replica = yield* Postgres.startReplica(server)
          yield* replica.sql("ALTER SYSTEM SET primary_conninfo = ''")
          yield* replica.sql("SELECT pg_reload_conf()")
          yield* wait(Effect.map(replica.sql("SELECT FROM pg_stat_wal_receiver"), ({ length }) => length === 0))
          granted.push(
            (yield* acquire(store, claimOf("a"))).fencingToken,
            (yield* acquire(store, claimOf("a"))).fencingToken
          )
          yield* server.crash
          yield* replica.promote
          server = replica
        }
        assert.deepStrictEqual(granted, [...new Set(granted)].toSorted((a, b) => a < b ? -1 : 1))
      })
  )
})
