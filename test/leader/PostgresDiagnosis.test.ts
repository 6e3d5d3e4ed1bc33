/** What `diagnose` finds on real PostgreSQL servers. Each remedy is run, and mends what it is for. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import type { PostgresFinding } from "../../src/leader/PostgresLeaseStore.ts"
import * as PostgresLeaseStore from "../../src/leader/PostgresLeaseStore.ts"
import * as Postgres from "../fixtures/postgres.ts"
import { shared } from "../fixtures/sharedResource.ts"
import { unless } from "../fixtures/skips.ts"

const getServer = shared(Postgres.noPgbouncer, Postgres.startPostgres({ fsync: "on" }))
const { describe, scopedLive } = unless(Postgres.noPgbouncer)

const diagnose = (url: string) => PostgresLeaseStore.diagnose({ url })

const problems = (findings: ReadonlyArray<PostgresFinding>) => findings.filter(({ severity }) => severity !== "ok")

const messages = (findings: ReadonlyArray<PostgresFinding>) => findings.map(({ message }) => message).join("\n")

const assertMended = (server: Postgres.PostgresServer, url: string, pattern: RegExp) =>
  Effect.gen(function*() {
    const [found, ...others] = problems(yield* diagnose(url))
    assert.match(found?.message ?? "nothing found", pattern)
    assert.deepStrictEqual(others, [])
    // ALTER SYSTEM runs in no transaction, so each statement is sent alone.
    for (const statement of (found?.remedy ?? "no remedy").split("; ")) yield* server.sql(statement)
    const left = yield* Effect.repeat(Effect.map(diagnose(url), problems), {
      until: ({ length }) => length === 0,
      times: 100
    })
    assert.deepStrictEqual(left, [])
  })

describe("the diagnosis", () => {
  scopedLive(
    "of a good server finds nothing, before and after its table exists, and changes nothing",
    () =>
      Effect.gen(function*() {
        const server = yield* getServer
        const before = yield* diagnose(server.url())
        assert.deepStrictEqual(problems(before), [])
        assert.match(messages(before), /answers\nthe server has version 1\d\.\d.*\nsynchronous_commit is on\n/)
        assert.match(messages(before), /does not exist yet: the first gateway creates it/)
        yield* Effect.scoped(Effect.flatMap(PostgresLeaseStore.make({ url: server.url() }), (store) => store.look("a")))
        assert.match(messages(yield* diagnose(server.url())), /table gateway_lock\.lease exists/)
      })
  )

  scopedLive("finds missing rights, with the SQL that gives them", () =>
    Effect.gen(function*() {
      const server = yield* getServer
      yield* Effect.scoped(Effect.flatMap(PostgresLeaseStore.make({ url: server.url() }), (store) => store.look("a")))
      yield* server.sql(`CREATE ROLE "A b" LOGIN`)
      yield* assertMended(server, server.url({ user: "A%20b" }), /role "A b" lacks USAGE, SELECT, INSERT, UPDATE/)
      yield* server.sql("CREATE DATABASE closed")
      const absent = problems(yield* diagnose(server.url({ user: "A%20b", database: "closed" })))
      assert.match(messages(absent), /does not exist, and role "A b" may not create it/)
      yield* server.sql(absent[0]?.remedy ?? "no remedy", "closed")
      assert.deepStrictEqual(problems(yield* diagnose(server.url({ user: "A%20b", database: "closed" }))), [])
    }))

  scopedLive("finds settings of the role, with the SQL that changes them", () =>
    Effect.gen(function*() {
      const server = yield* getServer
      const settings = { default_transaction_read_only: "on", statement_timeout: "200", idle_session_timeout: "200" }
      for (const [name, value] of Object.entries(settings)) {
        yield* server.sql(`CREATE ROLE with_${name} LOGIN SUPERUSER; ALTER ROLE with_${name} SET ${name} = ${value}`)
        yield* assertMended(server, server.url({ user: `with_${name}` }), new RegExp(`${name} of role with_${name} is`))
      }
    }))

  scopedLive(
    "finds settings that lose committed changes, with the SQL that changes them",
    () =>
      Effect.gen(function*() {
        const server = yield* getServer
        for (const name of ["fsync", "full_page_writes"]) {
          yield* server.sql(`ALTER SYSTEM SET ${name} = off`)
          yield* server.sql("SELECT pg_reload_conf()")
          yield* Effect.repeat(Effect.map(diagnose(server.url()), problems), {
            until: ({ length }) => length > 0,
            times: 100
          })
          yield* assertMended(server, server.url(), new RegExp(`^${name} is off: after a power cut`))
        }
        yield* server.sql("ALTER DATABASE postgres SET synchronous_commit = off")
        assert.match(messages(yield* diagnose(server.url())), /synchronous_commit is off; changes of a lease use on/)
        const unsafe = yield* Postgres.startPostgres()
        assert.match(messages(problems(yield* diagnose(unsafe.url()))), /^fsync is off: after a power cut/)
      })
  )

  scopedLive("tells of a pooler, of a standby, and of a server that does not answer", () =>
    Effect.gen(function*() {
      const server = yield* Postgres.startPostgres()
      const pooler = yield* Postgres.startPgbouncer(server)
      const pooled = yield* diagnose(pooler.url())
      assert.match(messages(problems(pooled)), /^fsync is off[^\n]*$/)
      assert.match(messages(pooled), /a pooler is before the server/)
      const standby = yield* Postgres.startReplica(server)
      assert.match(messages(problems(yield* diagnose(standby.url()))), /^the server is in recovery: gateways wait/)
      const [down] = yield* diagnose("postgresql://a:secret@127.0.0.1:1/b")
      assert.strictEqual(down?.severity, "error")
      assert.match(down?.message ?? "", /^postgresql:\/\/127\.0\.0\.1:1\/b cannot keep a lease: .*ECONNREFUSED/)
    }))
})
