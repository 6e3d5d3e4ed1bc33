/**
 * Crashes and restarts of the built program on two hosts with a PostgreSQL server on a third one.
 */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Gateways from "../e2e/support/gateways.ts"
import { shared } from "../fixtures/sharedResource.ts"
import { unless } from "../fixtures/skips.ts"
import * as Journal from "./support/journal.ts"
import * as Programs from "./support/programs.ts"
import { goesOn, keepsLeading, newLease, sharedHosts, skipped, startServer } from "./support/scene.ts"

const { describe, scopedLive } = unless(skipped)
const { short, standard } = Programs

const getHosts = sharedHosts()
const getServer = shared(skipped, startServer())

/** A `gateway run` that leads on the first host, and one that waits on the second. */
const runs = (times: Programs.Times) =>
  Effect.gen(function*() {
    const [[one, two], server] = [yield* getHosts, yield* getServer]
    const lease = yield* newLease(server, times)
    const journal = yield* Journal.open
    const leader = yield* Programs.run(one, journal, lease)
    const term = yield* journal.acts(one.name)
    const candidate = yield* Programs.run(two, journal, lease)
    yield* candidate.gateway.line(/waiting to lead /)
    yield* Effect.sleep(2 * times.renewInterval)
    const renewals = yield* Programs.watchRenewals(server, lease.name)
    return { one, two, lease, journal, leader, term, candidate, renewals }
  })

describe("gateway exec on two hosts", () => {
  for (const [title, times] of Object.entries({ "short times": short, "the default times": standard })) {
    scopedLive(
      `with ${title}: its wrapper is killed, and the other host takes over in time`,
      () =>
        Effect.gen(function*() {
          const [hosts, server] = [yield* getHosts, yield* getServer]
          const lease = yield* newLease(server, times)
          const { journal, leader, next, term } = yield* Programs.pair(hosts, lease)
          const renewals = yield* Programs.watchRenewals(server, lease.name)
          const killed = Journal.now()
          yield* leader.signal("SIGKILL")
          const successor = yield* next
          yield* goesOn(journal, successor)
          journal.judge()
          assert.isAtLeast(successor.first - renewals.last(term.token).after, times.duration)
          assert.isAtMost(successor.first - killed, Programs.takeoverBound(times))
          yield* Journal.note(`${title}: the watchdog killed the command after`, term.last - killed)
          yield* Journal.note(`${title}: takeover after a crash`, successor.first - killed)
        })
    )
  }
})

describe("gateway run on two hosts", () => {
  scopedLive(
    "with the default times: it is stopped, and the other host leads at once; it resigns, and the first leads again",
    () =>
      Effect.gen(function*() {
        const { journal, leader, lease, one, term, two } = yield* runs(standard)
        const next = journal.acts(two.name)
        yield* leader.gateway.signal("SIGTERM")
        const second = yield* next
        yield* Journal.note("takeover after SIGTERM", second.first - term.last)
        assert.strictEqual((yield* leader.gateway.ended).code, 0)
        yield* goesOn(journal, second)
        yield* Programs.run(one, journal, lease, leader.site)
        const third = journal.acts(one.name)
        const resigned = yield* Programs.leader(one, lease, "resign")
        assert.strictEqual(resigned.code, 0, resigned.stderr)
        const again = yield* third
        yield* Journal.note("takeover after gateway leader resign", again.first - second.last)
        yield* goesOn(journal, again)
        journal.judge()
        assert.lengthOf(journal.terms, 3)
        assert.isBelow(second.first - term.last, standard.renewInterval)
      })
  )

  scopedLive("is killed and started again on its host: it leads at once", () =>
    Effect.gen(function*() {
      const { journal, leader, lease, one, term } = yield* runs(standard)
      const next = journal.acts(one.name)
      yield* Gateways.stop(leader.gateway, "SIGKILL")
      const killed = Journal.now()
      yield* Programs.run(one, journal, lease, leader.site)
      const again = yield* next
      yield* goesOn(journal, again)
      journal.judge()
      assert.lengthOf(journal.terms, 2)
      assert.isBelow(again.first - killed, standard.duration - standard.renewInterval)
      yield* Journal.note("restart on the same host after SIGKILL, with the start of the program", again.first - killed)
      yield* Journal.note("of which the work rested", again.first - term.last)
    }))

  scopedLive(
    "is killed and started again on its host without its lock files: all wait for the whole lease",
    () =>
      Effect.gen(function*() {
        const { candidate, journal, leader, lease, one, renewals, term, two } = yield* runs(short)
        // Without the other host, which would lead first: it has seen the last renewal before.
        yield* Gateways.stop(candidate.gateway)
        const next = journal.until("one of them leads", () => journal.terms.find(({ token }) => token > term.token))
        yield* Gateways.stop(leader.gateway, "SIGKILL")
        yield* Effect.promise(() => Fs.rm(Gateways.locksFolder(leader.site), { recursive: true }))
        const again = yield* Programs.run(one, journal, lease, leader.site)
        yield* again.gateway.line(/waiting to lead /)
        yield* Programs.run(two, journal, lease, candidate.site)
        const successor = yield* next
        yield* goesOn(journal, successor)
        journal.judge()
        assert.isAtLeast(successor.first - renewals.last(term.token).after, short.duration)
      })
  )

  scopedLive("and a candidate that is killed changes nothing", () =>
    Effect.gen(function*() {
      const { candidate, journal } = yield* runs(short)
      yield* Gateways.stop(candidate.gateway, "SIGKILL")
      yield* Effect.sleep(short.duration)
      yield* keepsLeading(journal)
    }))
})
