/**
 * Controls of the judge: wrong programs, and two leaders on purpose, on hosts with a PostgreSQL server. Each must be found.
 */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { shared } from "../fixtures/sharedResource.ts"
import { unless } from "../fixtures/skips.ts"
import * as Journal from "./support/journal.ts"
import { mutant } from "./support/mutants.ts"
import * as Programs from "./support/programs.ts"
import { newLease, sharedHosts, skipped, startServer } from "./support/scene.ts"

const { describe, scopedLive } = unless(skipped)
const { short } = Programs

const getHosts = sharedHosts()
const getServer = shared(skipped, startServer())

/** Waits until both hosts act beside each other, and asserts that the judge says so. */
const isFound = (journal: Journal.Journal, former: Journal.Term, next: Journal.Term) =>
  Effect.gen(function*() {
    yield* journal.until("both act", () => former.last > next.first)
    assert.throws(journal.judge, /a with token \d+ acts beside b with token \d+/)
  })

describe("the judge finds", () => {
  scopedLive("two leaders of two leases", () =>
    Effect.gen(function*() {
      const [[one, two], server] = [yield* getHosts, yield* getServer]
      const journal = yield* Journal.open
      yield* Programs.exec(one, journal, yield* newLease(server, short))
      const former = yield* journal.acts(one.name)
      yield* Programs.exec(two, journal, yield* newLease(server, short))
      const next = yield* journal.until("b leads", () => journal.terms.find(({ host }) => host === two.name))
      yield* isFound(journal, former, next)
    }))

  scopedLive("a program whose deadline is too late, after its link is cut", () =>
    Effect.gen(function*() {
      const [hosts, server] = [yield* getHosts, yield* getServer]
      const main = yield* mutant(
        "sentAt + require_program.unsafeToNanos(renewDeadline)",
        "sentAt + 2n * require_program.unsafeToNanos(renewDeadline)"
      )
      const lease = { ...(yield* newLease(server, short)), main }
      const { journal, next, term } = yield* Programs.pair(hosts, lease)
      yield* Effect.acquireRelease(hosts[0].cutLink, () => hosts[0].mend)
      yield* isFound(journal, term, yield* next)
    }))

  scopedLive("a program that does not wait for the lease, without any fault", () =>
    Effect.gen(function*() {
      const [hosts, server] = [yield* getHosts, yield* getServer]
      const main = yield* mutant("since + require_program.unsafeToNanos(sighting.ttl)", "since")
      const lease = { ...(yield* newLease(server, short)), main }
      const journal = yield* Journal.open
      yield* Programs.exec(hosts[0], journal, lease)
      const former = yield* journal.acts(hosts[0].name)
      const next = journal.acts(hosts[1].name)
      yield* Programs.exec(hosts[1], journal, lease)
      yield* isFound(journal, former, yield* next)
    }))
})
