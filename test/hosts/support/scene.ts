/** What the tests of one file share: two hosts, and a PostgreSQL server that both reach. */
import { assert } from "@effect/vitest"
import { Effect, Logger, LogLevel } from "effect"
import { randomUUID } from "node:crypto"
import * as PostgresLeaseStore from "../../../src/leader/PostgresLeaseStore.ts"
import * as Postgres from "../../fixtures/postgres.ts"
import { shared } from "../../fixtures/sharedResource.ts"
import { acquire, claimOf } from "../../leader/leaseStoreContract.ts"
import * as Journal from "./journal.ts"
import * as Network from "./network.ts"
import type * as Programs from "./programs.ts"

/** The reason to skip the tests; `undefined` if they can run. */
export const skipped = Network.noHosts ?? Postgres.noPgbouncer

/** Makes two hosts for the tests of a file. */
export const sharedHosts = () =>
  shared(
    skipped,
    Effect.flatMap(
      Network.makeHosts(["a", "b"]),
      ([one, two]) =>
        one === undefined || two === undefined ? Effect.dieMessage("no hosts") : Effect.succeed([one, two] as const)
    )
  )

/** Starts a server that the hosts reach. */
export const startServer = (settings: Postgres.Settings = {}, env: Readonly<Record<string, string>> = {}) =>
  Postgres.startPostgres(settings, { network: Network.network, env })

export const urlOf = (server: Pick<Postgres.PostgresServer, "url">, port?: number): string =>
  server.url({ host: Network.storeAddress, ...(port === undefined ? {} : { port }) })

/** A new lease that was released. A candidate that finds no lease at all must wait. */
export const newLease = (server: Postgres.PostgresServer, times: Programs.Times, url = urlOf(server)) =>
  Effect.gen(function*() {
    const lease: Programs.Lease = { name: randomUUID(), url, times }
    const store = yield* PostgresLeaseStore.make({ url: server.url(), attemptTimeout: "10 seconds" })
    yield* Effect.flatMap(acquire(store, claimOf(lease.name)), store.release)
    return lease
  }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None))

/** Waits until a successor has acted for half a second: longer than a former leader that has just come back would need. */
export const goesOn = (journal: Journal.Journal, term: Journal.Term) =>
  journal.until("the successor goes on", () => term.last - term.first > 500)

/** Asserts that the first leader has acted to this moment, and that nobody else has. */
export const keepsLeading = (journal: Journal.Journal) =>
  Effect.gen(function*() {
    const [term] = journal.terms
    const from = Journal.now()
    yield* journal.until("the leader acts", () => (term?.last ?? 0) > from)
    assert.lengthOf(journal.terms, 1)
  })
