/**
 * The built program on several hosts, with a real PostgreSQL server on another one. Each test provokes a fault. The judge is a journal to
 * which the work of the leaders writes, outside of the server.
 */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { shared } from "../fixtures/sharedResource.ts"
import { unless } from "../fixtures/skips.ts"
import { startProxy } from "../fixtures/tcpProxy.ts"
import * as Journal from "./support/journal.ts"
import * as Network from "./support/network.ts"
import * as Programs from "./support/programs.ts"
import { goesOn, keepsLeading, newLease, sharedHosts, skipped, startServer, urlOf } from "./support/scene.ts"

const { describe, scopedLive } = unless(skipped)
const { patient, short } = Programs

const getHosts = sharedHosts()
const getServer = shared(skipped, startServer())

/** Two hosts, of which the first leads by the server that all tests share. */
const scene = (times: Programs.Times) =>
  Effect.gen(function*() {
    const [hosts, server] = [yield* getHosts, yield* getServer]
    const lease = yield* newLease(server, times)
    const parts = yield* Programs.pair(hosts, lease)
    return { ...parts, hosts, server, lease, renewals: yield* Programs.watchRenewals(server, lease.name) }
  })

describe("the link of a leader", () => {
  const cut = (title: string, fault: (host: Network.Host) => Effect.Effect<void>) =>
    scopedLive(`${title}: it stops before the other host leads`, () =>
      Effect.gen(function*() {
        const { hosts: [one], journal, leader, next, renewals, term } = yield* scene(short)
        yield* Effect.acquireRelease(fault(one), () => one.mend)
        const since = Journal.now()
        const successor = yield* next
        const { code, stderr } = yield* leader.ended
        assert.strictEqual(code, 125, stderr)
        assert.match(stderr, /it was not renewed within 3s 200ms/)
        yield* one.mend
        yield* goesOn(journal, successor)
        journal.judge()
        const renewed = renewals.last(term.token)
        assert.isAtMost(term.last - since, Programs.stopBound(short))
        assert.isAtLeast(successor.first - renewed.after, short.duration)
        assert.isAtMost(successor.first - renewed.before, Programs.takeoverBound(short))
        yield* Journal.note(`${title}: a stubborn command was killed after`, term.last - since)
        yield* Journal.note(`${title}: the other host led after`, successor.first - since)
      }))

  cut("is down", ({ cutLink }) => cutLink)
  cut("drops what it sends", ({ dropSent }) => dropSent)
  cut("drops what it gets, so that its renewals arrive", ({ dropReceived }) => dropReceived)

  scopedLive("is down for less than the deadline: it goes on", () =>
    Effect.gen(function*() {
      const { hosts: [one], journal } = yield* scene(patient)
      yield* Effect.acquireRelease(one.cutLink, () => one.mend)
      yield* Effect.sleep("2 seconds")
      yield* one.mend
      yield* Effect.sleep(patient.duration)
      yield* keepsLeading(journal)
    }))

  scopedLive(
    "has a round trip of 1.2 seconds: it goes on; of more than an attempt: it stops in time",
    () =>
      Effect.gen(function*() {
        const [hosts, server] = [yield* getHosts, yield* getServer]
        const proxy = yield* startProxy(server.port, Network.storeAddress)
        const times = {
          duration: 7000,
          renewInterval: 1000,
          attemptTimeout: 1800,
          renewDeadline: 5000,
          stopTimeout: 1500
        }
        const other = yield* newLease(server, times)
        const lease = { ...other, url: urlOf(server, proxy.port) }
        const { journal, next, term } = yield* Programs.pair(hosts, lease, { other })
        yield* proxy.setDelay(600)
        yield* Effect.sleep("12 seconds")
        assert.lengthOf(journal.terms, 1)
        assert.isAtLeast(term.last, Journal.now() - 200)
        const since = Journal.now()
        yield* proxy.setDelay(1500)
        const successor = yield* next
        yield* goesOn(journal, successor)
        journal.judge()
        // A renewal that is under way may still be answered after the first delay.
        assert.isAtMost(term.last - since, 1200 + Programs.stopBound(times))
        yield* Journal.note("a round trip of 3 s: a stubborn command was killed after", term.last - since)
      })
  )
})
