/**
 * Faults of the PostgreSQL server itself, between two hosts that run the built program: crashes, a failover that loses the last grant,
 * a pooler, stepped clocks, and twenty candidates.
 */
import { assert } from "@effect/vitest"
import { Clock, Config, Effect, Fiber, Random } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Shims from "../e2e/support/shims.ts"
import * as Postgres from "../fixtures/postgres.ts"
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

describe("a server that crashes", () => {
  scopedLive(
    "and is back within the deadline: the leader goes on, although the server does not wait for the disk",
    () =>
      Effect.gen(function*() {
        const hosts = yield* getHosts
        const server = yield* startServer()
        yield* server.sql("ALTER DATABASE postgres SET synchronous_commit = off")
        const lease = yield* newLease(server, patient)
        const { journal, leader, next } = yield* Programs.pair(hosts, lease, { work: "ends" })
        for (let crash = 0; crash < 2; crash++) {
          const since = Journal.now()
          yield* server.crash
          yield* Effect.sleep("500 millis")
          yield* server.start
          yield* Journal.note("the server was back after", Journal.now() - since)
          yield* Effect.sleep(patient.renewDeadline)
          yield* keepsLeading(journal)
        }
        yield* leader.signal("SIGTERM")
        yield* goesOn(journal, yield* next)
        journal.judge()
      })
  )
})

describe("a replica that is promoted", () => {
  scopedLive(
    "without the last release and the last grant: one leader at a time, and growing tokens",
    () =>
      Effect.gen(function*() {
        const hosts = yield* getHosts
        const primary = yield* Postgres.startPostgres()
        // The address of the service, which follows the primary.
        const service = yield* startProxy(primary.port, Network.storeAddress)
        const lease = yield* newLease(primary, short, urlOf(primary, service.port))
        const { candidate, journal, leader, next } = yield* Programs.pair(hosts, lease, { work: "ends" })
        const replica = yield* Postgres.startReplica(primary)
        yield* replica.sql("ALTER SYSTEM SET primary_conninfo = ''")
        yield* replica.sql("SELECT pg_reload_conf()")
        yield* Effect.repeat(Effect.delay(replica.sql("SELECT FROM pg_stat_wal_receiver"), "20 millis"), {
          until: ({ length }) => length === 0
        })
        yield* leader.signal("SIGTERM")
        const second = yield* next
        const third = journal.acts(hosts[0].name)
        const again = yield* Programs.exec(hosts[0], journal, lease, "ends")
        yield* again.line(/waiting to lead /)
        yield* primary.crash
        yield* replica.promote
        yield* service.setTarget(replica.port)
        yield* service.reset
        const since = Journal.now()
        const { code, stderr } = yield* candidate.ended
        assert.strictEqual(code, 125, stderr)
        assert.match(stderr, /lost leadership of .*: another process has the lease, or it was deleted or released/)
        const last = yield* third
        yield* goesOn(journal, last)
        journal.judge()
        assert.deepStrictEqual([second.token >> 40n, last.token >> 40n], [1n, 2n])
        yield* Journal.note("after a promotion that lost its grant, the leader stopped after", second.last - since)
        yield* Journal.note("and another one led after", last.first - since)
      })
  )
})

describe("pgbouncer with transaction pooling", () => {
  scopedLive("before the server: takeover by polling after a release and after a crash", () =>
    Effect.gen(function*() {
      const [hosts, server] = [yield* getHosts, yield* getServer]
      const pooler = yield* Postgres.startPgbouncer(server, { listen_addr: Network.storeAddress })
      const lease = yield* newLease(server, short, urlOf(server, pooler.port))
      const { candidate, journal, leader, next, term } = yield* Programs.pair(hosts, lease, { work: "ends" })
      yield* leader.signal("SIGTERM")
      const second = yield* next
      yield* Journal.note("takeover behind a pooler after a release", second.first - term.last)
      // One look, and the start of the command.
      assert.isBelow(second.first - term.last, short.renewInterval + short.attemptTimeout)
      assert.strictEqual((yield* leader.ended).signal, "SIGTERM")
      const third = journal.acts(hosts[0].name)
      const again = yield* Programs.exec(hosts[0], journal, lease, "ends")
      yield* again.line(/waiting to lead /)
      yield* Effect.sleep(2 * short.renewInterval)
      const killed = Journal.now()
      yield* candidate.signal("SIGKILL")
      const last = yield* third
      yield* goesOn(journal, last)
      journal.judge()
      assert.isAtMost(last.first - killed, Programs.takeoverBound(short))
      yield* Journal.note("takeover behind a pooler after a crash", last.first - killed)
    }))
})

const clocks = unless(skipped ?? Shims.noShims)

/** A wall clock that programs of other users can read, too. */
const openClock = Effect.tap(Shims.wallClock(0), ({ env }) =>
  Effect.promise(async () => {
    for (const path of Object.values(env)) await Fs.chmod(Path.dirname(path), 0o755)
  }))

clocks.describe("wall clocks", () => {
  clocks.scopedLive(
    "of the server and of a host that are stepped by an hour, in both directions, have no effect",
    () =>
      Effect.gen(function*() {
        const hosts = yield* getHosts
        const [ofServer, ofHost] = [yield* openClock, yield* openClock]
        const server = yield* startServer({}, ofServer.env)
        const other = yield* newLease(server, short)
        const lease = { ...other, env: ofHost.env }
        const { journal, leader, next } = yield* Programs.pair(hosts, lease, { other, work: "ends" })
        for (const [one, two] of [[3600, -3600], [-3600, 3600]] as const) {
          yield* ofServer.step(one)
          yield* ofHost.step(two)
          const [row] = yield* server.sql("SELECT extract(epoch FROM clock_timestamp())::float8 AS now")
          const ahead = Number(row?.["now"]) - (yield* Clock.currentTimeMillis) / 1000
          assert.approximately(ahead, one, 60, "the clock of the server was not stepped")
          yield* Effect.sleep(short.duration + short.renewInterval)
          yield* keepsLeading(journal)
        }
        const killed = Journal.now()
        yield* leader.signal("SIGKILL")
        yield* Effect.zipRight(ofServer.step(3600), ofHost.step(0))
        const successor = yield* next
        yield* goesOn(journal, successor)
        journal.judge()
        assert.isAtLeast(successor.first - killed, short.duration - short.renewInterval - short.attemptTimeout)
        assert.isAtMost(successor.first - killed, Programs.takeoverBound(short))
      })
  )
})

describe("twenty candidates", () => {
  scopedLive(
    "that are processes hand over again and again without notifications: one grant each",
    () =>
      Effect.gen(function*() {
        const [[first], server] = [yield* getHosts, yield* getServer]
        const seed = yield* Config.withDefault(
          Config.integer("GATEWAY_HOSTS_SEED"),
          (yield* Clock.currentTimeMillis) % 1e6
        )
        const pooler = yield* Postgres.startPgbouncer(server, { listen_addr: Network.storeAddress })
        const lease = yield* newLease(server, Programs.standard, urlOf(server, pooler.port))
        const journal = yield* Journal.open
        const hurried = { ...lease, times: { ...lease.times, renewInterval: 500 } }
        const random = Random.make(seed)
        const candidate = (at: number) =>
          Effect.forever(Effect.scoped(Effect.gen(function*() {
            const millis = yield* random.nextIntBetween(20, 150)
            const wrapper = yield* Programs.exec({ ...first, name: `c${at}` }, journal, hurried, millis)
            const { code, stderr } = yield* wrapper.ended
            assert.strictEqual(code, 0, stderr)
          })))
        const all = yield* Effect.fork(Effect.all(Array.from({ length: 20 }, (_, at) => candidate(at)), {
          concurrency: "unbounded",
          discard: true
        }))
        yield* Effect.raceFirst(
          // A slow machine may not reach the hundred, so this wait must not end before the other one.
          Effect.raceFirst(
            Fiber.join(all),
            journal.until("100 releases", () => journal.terms.length > 100, "3 minutes")
          ),
          Effect.sleep("90 seconds")
        )
        yield* Fiber.interrupt(all)
        journal.judge()
        assert.isAtLeast(journal.terms.length, 20)
        assert.isAtLeast(new Set(journal.terms.map(({ host }) => host)).size, 5)
        const sorted = journal.terms.toSorted((a, b) => a.first - b.first)
        const pauses = sorted.slice(1).map((term, at) => term.first - (sorted[at]?.last ?? 0)).toSorted((a, b) => a - b)
        yield* Journal.note(
          `seed ${seed}: ${journal.terms.length} grants to 20 processes; median pause`,
          pauses[pauses.length >> 1] ?? 0
        )
        yield* Journal.note("longest pause", pauses.at(-1) ?? 0)
      })
  )
})
