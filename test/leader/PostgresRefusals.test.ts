/** What the store says of servers, roles and URLs that it cannot use: which errors end a start, and which are waited for. */
import { assert } from "@effect/vitest"
import { Duration, Effect, Either, Option, Redacted, type Scope } from "effect"
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import { types } from "pg"
import { type LeaseStore, type StoreError, StoreFailed, StoreRefused } from "../../src/leader/LeaseStore.ts"
import { classify } from "../../src/leader/PostgresErrors.ts"
import * as PostgresLeaseStore from "../../src/leader/PostgresLeaseStore.ts"
import * as Sql from "../../src/leader/PostgresSql.ts"
import { canBind } from "../fixtures/net.ts"
import * as Postgres from "../fixtures/postgres.ts"
import { shared } from "../fixtures/sharedResource.ts"
import { noIPv6, unless } from "../fixtures/skips.ts"
import { acquire, claimOf } from "./leaseStoreContract.ts"

const canBindIPv6 = await canBind("::1")
const getServer = shared(Postgres.noPostgres, Postgres.startPostgres())
const { describe, effect, scopedLive } = unless(Postgres.noPostgres)

let databases = 0

/** A database without the table. */
const newDatabase = Effect.gen(function*() {
  const server = yield* getServer
  const database = `empty_${databases++}`
  yield* server.sql(`CREATE DATABASE ${database}`)
  return { server, database }
})

const connect = (url: string): Effect.Effect<LeaseStore["Type"], StoreRefused, Scope.Scope> =>
  PostgresLeaseStore.make({ url: Redacted.make(url), attemptTimeout: "5 seconds" })

const failure = <A>(answer: Either.Either<A, StoreError>): StoreError =>
  Either.isLeft(answer) ? answer.left : new StoreFailed({ reason: "it did not fail" })

const errorOf = (url: string): Effect.Effect<StoreError> =>
  Effect.scoped(Effect.flatMap(connect(url), (store) => store.look("a"))).pipe(Effect.either, Effect.map(failure))

const assertRefused = (error: StoreError, pattern: RegExp) => {
  assert.strictEqual(error._tag, "StoreRefused", error.message)
  assert.match(error.message, pattern)
  assert.notMatch(error.message, /secret|\n/)
}

const assertFailed = (error: StoreError, pattern: RegExp) => {
  assert.strictEqual(error._tag, "StoreFailed", error.message)
  assert.match(error.message, pattern)
}

/** Uses the store as a leader does. */
const lead = (store: LeaseStore["Type"]) =>
  Effect.gen(function*() {
    const grant = yield* acquire(store, claimOf(randomUUID()))
    assert.strictEqual(yield* store.renew(grant), "Renewed")
    yield* store.release(grant)
  })

describe("a login that PostgreSQL refuses", () => {
  scopedLive(
    "is an error of the start: password, role, database, and TLS that the server does not have",
    () =>
      Effect.gen(function*() {
        const server = yield* getServer
        const path = `${server.folder}/data/pg_hba.conf`
        const before = Fs.readFileSync(path, "utf8")
        Fs.writeFileSync(
          path,
          `host all locked 127.0.0.1/32 scram-sha-256\nhost all nobody 127.0.0.1/32 reject\n${before}`
        )
        yield* server.sql(
          "CREATE ROLE locked LOGIN PASSWORD 'right'; CREATE ROLE nobody LOGIN; SELECT pg_reload_conf()"
        )
        // The reload takes effect a moment later.
        yield* Effect.repeat(errorOf(server.url({ user: "locked", password: "secret" })), {
          until: ({ message }) => message.includes("authentication failed"),
          times: 100
        })
        assertRefused(
          yield* errorOf(server.url({ user: "locked", password: "secret" })),
          /password authentication failed for user "locked" \(SQLSTATE 28P01\)/
        )
        assertRefused(yield* errorOf(server.url({ user: "locked" })), /the URL has no password/)
        assertRefused(yield* errorOf(server.url({ user: "nobody" })), /rejects connection .* \(SQLSTATE 28000\)/)
        assertRefused(yield* errorOf(server.url({ user: "absent" })), /role "absent" does not exist/)
        assertRefused(yield* errorOf(server.url({ database: "absent" })), /database "absent" does not exist/)
        assertRefused(
          yield* errorOf(server.url({ parameters: "sslmode=require" })),
          /does not support SSL connections: expected TLS because of sslmode/
        )
      })
  )

  scopedLive(
    "is not caused by a password of special characters, in the URL or as an effect",
    () =>
      Effect.gen(function*() {
        const server = yield* getServer
        const password = `p@s:s/w?o#r%41d é'"\\ $1 & =`
        const path = `${server.folder}/data/pg_hba.conf`
        Fs.writeFileSync(path, `host all special 127.0.0.1/32 scram-sha-256\n${Fs.readFileSync(path, "utf8")}`)
        yield* server.sql(
          `CREATE ROLE special LOGIN SUPERUSER PASSWORD '${password.replaceAll("'", "''")}'; SELECT pg_reload_conf()`
        )
        yield* Effect.repeat(errorOf(server.url({ user: "special", password: "wrong" })), {
          until: ({ message }) => message.includes("authentication failed"),
          times: 100
        })
        yield* Effect.flatMap(connect(server.url({ user: "special", password })), lead)
        const later = yield* PostgresLeaseStore.make({
          url: server.url({ user: "special", password: "former" }),
          password: Effect.succeed(Redacted.make(password))
        })
        yield* lead(later)
      })
  )

  scopedLive("for want of connections is waited for", () =>
    Effect.gen(function*() {
      const server = yield* getServer
      yield* server.sql("CREATE ROLE crowded LOGIN SUPERUSER CONNECTION LIMIT 0")
      // A limit of a role does not hold for superusers.
      yield* server.sql("ALTER ROLE crowded NOSUPERUSER")
      assertFailed(
        yield* errorOf(server.url({ user: "crowded" })),
        /too many connections for role "crowded" \(SQLSTATE 53300\)/
      )
    }))
})

describe("a right that is missing", () => {
  scopedLive("is an error with the SQL that gives it, to create the table and to use it", () =>
    Effect.gen(function*() {
      const { database, server } = yield* newDatabase
      yield* server.sql(`CREATE ROLE "App one" LOGIN; REVOKE CREATE ON DATABASE ${database} FROM "App one", PUBLIC`)
      const url = server.url({ user: "App%20one", database })
      const store = yield* connect(url)
      const absent = failure(yield* Effect.either(store.look("a")))
      assertRefused(absent, /permission denied for database empty_\d+: run CREATE SCHEMA .*; GRANT .* TO "App one"/)
      // Only the table, without rights on it.
      yield* server.sql(Sql.createTable, database)
      const closed = failure(yield* Effect.either(store.look("a")))
      assertRefused(closed, /permission denied for schema gateway_lock: run GRANT USAGE/)
      yield* server.sql(`GRANT USAGE ON SCHEMA gateway_lock TO "App one"`, database)
      assertRefused(failure(yield* Effect.either(store.look("a"))), /permission denied for table lease: run GRANT/)
      yield* server.sql(/: run (GRANT.*)$/.exec(closed.message)?.[1] ?? "no SQL", database)
      yield* lead(store)
    }))

  scopedLive("is given by the SQL of the error, also where the table is missing", () =>
    Effect.gen(function*() {
      const { database, server } = yield* newDatabase
      yield* server.sql(`CREATE ROLE reader LOGIN; REVOKE CREATE ON DATABASE ${database} FROM PUBLIC`)
      const store = yield* connect(server.url({ user: "reader", database }))
      const error = failure(yield* Effect.either(store.look("a")))
      yield* server.sql(/: run (CREATE.*)$/.exec(error.message)?.[1] ?? "no SQL", database)
      yield* lead(store)
    }))

  scopedLive("does not stop a role that only reads from looking", () =>
    Effect.gen(function*() {
      const { database, server } = yield* newDatabase
      yield* Effect.flatMap(connect(server.url({ database })), lead)
      yield* server.sql(
        "CREATE ROLE viewer LOGIN; GRANT USAGE ON SCHEMA gateway_lock TO viewer; GRANT SELECT ON gateway_lock.lease TO viewer",
        database
      )
      const store = yield* connect(server.url({ user: "viewer", database }))
      assert.isTrue(Option.isNone(yield* store.look("a")))
      assertRefused(
        failure(yield* Effect.either(store.create(claimOf("a")))),
        /permission denied for table lease: run GRANT/
      )
    }))
})

describe("the table", () => {
  scopedLive("is created by twenty stores at one time, without an error", () =>
    Effect.gen(function*() {
      for (let round = 0; round < 3; round++) {
        const { database, server } = yield* newDatabase
        const stores = yield* Effect.all(Array.from({ length: 20 }, () => connect(server.url({ database }))))
        yield* Effect.forEach(stores, (store) => store.look("a"), { concurrency: "unbounded" })
      }
    }))

  scopedLive("is created again if it was dropped, and its tokens are higher", () =>
    Effect.gen(function*() {
      const { database, server } = yield* newDatabase
      const store = yield* connect(server.url({ database }))
      const grant = yield* acquire(store, claimOf("a"))
      yield* server.sql("DROP SCHEMA gateway_lock CASCADE", database)
      assertFailed(failure(yield* Effect.either(store.renew(grant))), /does not exist/)
      assert.strictEqual(yield* store.renew(grant), "Lost")
      const next = yield* acquire(store, claimOf("a"))
      assert.isTrue(grant.fencingToken < next.fencingToken)
    }))

  scopedLive(
    "of another shape, without its key or unlogged is an error with the SQL that helps",
    () =>
      Effect.gen(function*() {
        const { database, server } = yield* newDatabase
        const url = server.url({ database })
        yield* Effect.scoped(Effect.flatMap(connect(url), (store) => store.look("a")))
        const changes = [
          ["ALTER TABLE gateway_lock.lease SET UNLOGGED", /is not logged, so a crash empties it: run (ALTER .*)$/],
          [
            "ALTER TABLE gateway_lock.lease DROP CONSTRAINT lease_name_fencing_token_key",
            /lacks a key: run (ALTER TABLE .*)$/
          ]
        ] as const
        for (const [change, pattern] of changes) {
          yield* server.sql(change, database)
          const error = yield* errorOf(url)
          assertRefused(error, pattern)
          yield* server.sql(pattern.exec(error.message)?.[1] ?? "no SQL", database)
          yield* Effect.scoped(Effect.flatMap(connect(url), lead))
        }
        yield* server.sql("ALTER TABLE gateway_lock.lease ALTER ttl_ms TYPE bigint, DROP resign_token", database)
        assertRefused(yield* errorOf(url), /lacks ttl_ms integer, resign_token bigint: drop it by DROP TABLE/)
        yield* server.sql("DROP TABLE gateway_lock.lease", database)
        yield* Effect.scoped(Effect.flatMap(connect(url), lead))
        yield* server.sql("DROP TABLE gateway_lock.lease; CREATE VIEW gateway_lock.lease AS SELECT 1 AS one", database)
        assertRefused(yield* errorOf(url), /lacks name text, .*/)
      })
  )
})

describe("a role with settings of its own", () => {
  const withSettings = (role: string, settings: Readonly<Record<string, string>>) =>
    Effect.gen(function*() {
      const { database, server } = yield* newDatabase
      yield* Effect.scoped(Effect.flatMap(connect(server.url({ database })), lead))
      const lines = Object.entries(settings).map(([name, value]) => `ALTER ROLE ${role} SET ${name} = ${value}`)
      yield* server.sql([`CREATE ROLE ${role} LOGIN SUPERUSER`, ...lines].join("; "), database)
      return { server, database, store: yield* connect(server.url({ user: role, database })) }
    })

  scopedLive(
    "that make transactions read-only is waited for, since servers do that while their disk is full",
    () =>
      Effect.gen(function*() {
        const { store } = yield* withSettings("readonly", { default_transaction_read_only: "on" })
        assert.isTrue(Option.isNone(yield* store.look("a")))
        assertFailed(
          failure(yield* Effect.either(store.create(claimOf("a")))),
          /read-only transaction \(SQLSTATE 25006\)/
        )
      })
  )

  scopedLive("that put other functions first leads as any other", () =>
    Effect.gen(function*() {
      const { database, server, store } = yield* withSettings("tricked", { search_path: "evil, pg_catalog" })
      yield* server.sql(
        [
          "CREATE SCHEMA evil",
          "CREATE FUNCTION evil.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
          "CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT ''off'''",
          "CREATE TABLE evil.pg_class (); CREATE TABLE evil.lease ()"
        ].join("; "),
        database
      )
      yield* lead(store)
    }))

  scopedLive("that end idle sessions reconnects", () =>
    Effect.gen(function*() {
      const { server, store } = yield* withSettings("brief", { idle_session_timeout: "50" })
      for (let round = 0; round < 3; round++) {
        yield* lead(store)
        yield* Effect.repeat(server.sql("SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = 'brief'"), {
          until: ([row]) => row?.["n"] === 0
        })
      }
    }))

  scopedLive("that end statements is told so", () =>
    Effect.gen(function*() {
      const { database, server, store } = yield* withSettings("hurried", { statement_timeout: "100" })
      const grant = yield* acquire(store, claimOf("a"))
      const locked = yield* Postgres.lockRow(server, database, "a")
      assertFailed(failure(yield* Effect.either(store.renew(grant))), /statement_timeout ended the statement/)
      yield* locked.release
      assert.strictEqual(yield* store.renew(grant), "Renewed")
    }))
})

describe("a URL", () => {
  scopedLive("can name a socket in three ways, and a host by its IPv6 address", () =>
    Effect.gen(function*() {
      const { folder, port } = yield* getServer
      const inPath = encodeURIComponent(folder)
      const urls = [
        `postgresql://postgres@${inPath}:${port}/postgres`,
        `postgresql:///postgres?host=${inPath}&port=${port}&user=postgres`,
        `postgresql://postgres@/postgres?host=${folder}&port=${port}`,
        `postgres://postgres@localhost:${port}/postgres`
      ]
      for (const url of urls) {
        const store = yield* connect(url)
        yield* lead(store)
        assert.include(store.location, "/postgres")
      }
    }))

  const onIPv6 = unless(Postgres.noPostgres ?? noIPv6(canBindIPv6))
  onIPv6.scopedLive("can have an IPv6 address", () =>
    Effect.gen(function*() {
      const server = yield* Postgres.startPostgres({ listen_addresses: "127.0.0.1,::1" })
      const store = yield* connect(`postgresql://postgres@[::1]:${server.port}/postgres`)
      yield* lead(store)
      assert.strictEqual(store.location, `postgresql://[::1]:${server.port}/postgres`)
    }))

  scopedLive("that nobody answers is waited for", () =>
    Effect.gen(function*() {
      const { folder } = yield* getServer
      assertFailed(yield* errorOf("postgresql://postgres@127.0.0.1:1/postgres"), /ECONNREFUSED/)
      assertFailed(yield* errorOf(`postgresql:///postgres?host=${folder}/absent&user=a`), /ENOENT/)
    }))
})

describe("values that the table cannot keep", () => {
  scopedLive("are refused, and another one works", () =>
    Effect.gen(function*() {
      const server = yield* getServer
      const store = yield* connect(server.url())
      const long = claimOf("a", { ttl: Duration.days(25) })
      assertRefused(
        failure(yield* Effect.either(store.create(long))),
        /lease\.duration is 25d: expected at most 24 days/
      )
      const nul = claimOf(randomUUID(), { holder: { text: "\0" } })
      assertRefused(failure(yield* Effect.either(store.create(nul))), /SQLSTATE 22P05/)
      yield* lead(store)
    }))

  scopedLive("are not read by parsers that the app has set for types", () =>
    Effect.gen(function*() {
      const server = yield* getServer
      const [jsonb, int8, int4] = [3802, 20, 23]
      const parsers = [jsonb, int8, int4].map((oid) => [oid, types.getTypeParser(oid)] as const)
      for (const [oid] of parsers) types.setTypeParser(oid, () => "changed by the app")
      const restored = Effect.sync(() => {
        for (const [oid, parser] of parsers) types.setTypeParser(oid, parser)
      })
      yield* Effect.ensuring(Effect.flatMap(connect(server.url()), lead), restored)
    }))
})

effect("errors of the network and of certificates have a class each", () =>
  Effect.sync(() => {
    const coded = (code: string, message = "") => classify(Object.assign(new Error(message), { code }), "")
    for (
      const code of [
        "ENOTFOUND",
        "EAI_AGAIN",
        "ECONNRESET",
        "ETIMEDOUT",
        "EHOSTUNREACH",
        "EPIPE",
        "08006",
        "57P03",
        "XX000"
      ]
    ) {
      assert.instanceOf(coded(code), StoreFailed, code)
    }
    for (
      const code of [
        "CERT_HAS_EXPIRED",
        "DEPTH_ZERO_SELF_SIGNED_CERT",
        "ERR_TLS_CERT_ALTNAME_INVALID",
        "EACCES",
        "22P02"
      ]
    ) {
      assert.instanceOf(coded(code), StoreRefused, code)
    }
    assert.instanceOf(coded("08P01", "no such database: a"), StoreRefused)
    assert.instanceOf(coded("08P01", "server login has been failing, try again later"), StoreFailed)
    // Node reports a host with two addresses, neither of which answers, without a message.
    const both = new AggregateError([
      new Error("connect ECONNREFUSED ::1:1"),
      new Error("connect ECONNREFUSED 127.0.0.1:1")
    ])
    assert.include(classify(both, "").message, "connect ECONNREFUSED ::1:1")
  }))
