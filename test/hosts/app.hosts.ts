/**
 * An app on `Gateway.layerWithLease` on two hosts, which writes to a PostgreSQL server on a third one: a paused process, a blocked event
 * loop, an exhausted pool, many fenced writers, and a row that a user locks.
 *
 * The judge of the writes is the database: one sequence numbers the grants and the writes, and grants are noted by a trigger.
 */
import { assert } from "@effect/vitest"
import { Effect, Logger, LogLevel } from "effect"
import { fileURLToPath } from "node:url"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Processes from "../e2e/support/processes.ts"
import * as Program from "../e2e/support/program.ts"
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
const getServer = shared(
  skipped,
  Effect.gen(function*() {
    const server = yield* startServer()
    yield* newLease(server, short)
    yield* server.sql(`
      CREATE SEQUENCE happened;
      CREATE TABLE written (seq bigint DEFAULT nextval('happened'), form text, token bigint, note text);
      CREATE TABLE granted (seq bigint DEFAULT nextval('happened'), lease text, token bigint);
      CREATE TABLE document (id int PRIMARY KEY, fencing_token bigint NOT NULL, note text);
      CREATE FUNCTION note_grant() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO public.granted (lease, token) VALUES (NEW.name, NEW.fencing_token); RETURN NULL; END';
      CREATE TRIGGER note_grant AFTER UPDATE ON gateway_lock.lease FOR EACH ROW
        WHEN (NEW.fencing_token IS DISTINCT FROM OLD.fencing_token) EXECUTE FUNCTION note_grant()`)
    return server
  }).pipe(Logger.withMinimumLogLevel(LogLevel.None))
)

const program = fileURLToPath(new URL("support/app.mjs", import.meta.url))

/** Starts the app on a host. */
const start = (
  host: Network.Host,
  journal: Journal.Journal,
  lease: Programs.Lease,
  appUrl: string,
  connections: number
) =>
  Effect.gen(function*() {
    const site = yield* Gateways.newSite
    const { times } = lease
    const options = {
      journal: journal.path,
      host: host.name,
      gateway: {
        port: site.port,
        stateDir: site.stateDir,
        configPath: site.configPath,
        lease: { name: lease.name, ...times }
      },
      leaseUrl: lease.url,
      appUrl,
      connections
    }
    return yield* Processes.start([...host.under, process.execPath, program, JSON.stringify(options)], {
      cwd: site.root,
      env: { PATH: Program.searchPath, HOME: site.root }
    })
  })

/** The app leads on the first host and waits on the second. The app of the first reaches its database by a proxy. */
const scene = (times: Programs.Times, connections = 4) =>
  Effect.gen(function*() {
    const [[one, two], server] = [yield* getHosts, yield* getServer]
    yield* server.sql("TRUNCATE written, granted, document; INSERT INTO document VALUES (1, 0, '')")
    const proxy = yield* startProxy(server.port, Network.storeAddress)
    const lease = yield* newLease(server, times)
    const journal = yield* Journal.open
    const works = (host: string) => journal.until(`${host} works`, () => journal.lines.includes(`${host}: works`))
    const answer = (line: string) => journal.until(line, () => journal.lines.find((found) => found.startsWith(line)))
    const leader = yield* start(one, journal, lease, urlOf(server, proxy.port), connections)
    const term = yield* journal.acts(one.name)
    yield* works(one.name)
    const candidate = yield* start(two, journal, lease, urlOf(server), connections)
    yield* candidate.line(/waiting to lead /)
    yield* Effect.sleep(2 * times.renewInterval)
    const renewals = yield* Programs.watchRenewals(server, lease.name)
    const ended = yield* Effect.fork(Effect.map(leader.ended, (end) => ({ ...end, at: Journal.now() })))
    return {
      server,
      proxy,
      lease,
      journal,
      works,
      answer,
      leader,
      candidate,
      term,
      renewals,
      ended,
      next: journal.acts(two.name)
    }
  })

/** How many writes of a form with a token came after the grant of a higher one. */
const lateWrites = (server: Postgres.PostgresServer, form: string, token: bigint) =>
  Effect.map(
    server.sql(`SELECT count(*)::int AS n FROM written w WHERE form = '${form}' AND token = ${token}
      AND EXISTS (SELECT FROM granted g WHERE g.token > w.token AND g.seq < w.seq)`),
    ([row]) => row?.["n"]
  )

const noteOf = (server: Postgres.PostgresServer) =>
  Effect.map(server.sql("SELECT note FROM document"), ([row]) => row?.["note"])

describe("a leader that is stopped for longer than its lease", () => {
  scopedLive(
    "with writes under way that arrive late: only the one without a fence is made",
    () =>
      Effect.gen(function*() {
        const { answer, journal, leader, next, proxy, server, term, works } = yield* scene(short)
        yield* journal.tell("a write fourth before")
        yield* answer("a: wrote fourth before 1")
        // Held by the network until after the pause. All connections are open, so each form sends at once.
        yield* proxy.setDelay(short.duration + 5000)
        for (const form of ["bare", "fourth", "third"]) yield* journal.tell(`a write ${form} late`)
        yield* proxy.holds(3)
        const stopped = Journal.now()
        yield* leader.signal("SIGSTOP")
        const successor = yield* next
        yield* works("b")
        yield* journal.tell("b write fourth after")
        yield* answer("b: wrote fourth after 1")
        yield* Effect.sleep(short.duration + 4900 - (Journal.now() - stopped))
        yield* leader.signal("SIGCONT")
        yield* leader.ended
        const bare = server.sql("SELECT FROM written WHERE form = 'bare'")
        yield* Effect.repeat(Effect.delay(bare, "20 millis"), { until: ({ length }) => length > 0, times: 200 })
        yield* Effect.sleep("500 millis")
        yield* goesOn(journal, successor)
        // The thread that acts goes on for a moment after the pause. Only the fence protects then.
        assert.isTrue(successor.token > term.token)
        assert.strictEqual(
          yield* lateWrites(server, "bare", term.token),
          1,
          "the late write without a fence is not seen"
        )
        assert.strictEqual(yield* lateWrites(server, "third", term.token), 0)
        assert.strictEqual(yield* noteOf(server), "after")
      })
  )

  scopedLive(
    "in the midst of fenced writes: none comes after the grant of its successor",
    () =>
      Effect.gen(function*() {
        const { answer, journal, leader, next, proxy, server, term, works } = yield* scene(short)
        yield* proxy.setDelay(30)
        yield* journal.tell("a writers 4")
        yield* answer("a: writing")
        yield* Effect.sleep("1 second")
        yield* leader.signal("SIGSTOP")
        yield* Effect.sleep(short.duration + 5000)
        yield* leader.signal("SIGCONT")
        const { code, signal } = yield* leader.ended
        assert.isTrue(signal === "SIGKILL" || code === 1, `${signal} ${code}`)
        yield* goesOn(journal, yield* next)
        yield* works("b")
        yield* journal.tell("b writers 1")
        yield* answer("b: writing")
        yield* Effect.sleep("500 millis")
        const [row] = yield* server.sql(`SELECT count(*) FILTER (WHERE token = ${term.token})::int AS former,
        count(*) FILTER (WHERE token > ${term.token})::int AS present FROM written`)
        assert.isAtLeast(Number(row?.["former"]), 4)
        assert.isAtLeast(Number(row?.["present"]), 1)
        assert.strictEqual(yield* lateWrites(server, "third", term.token), 0)
      })
  )
})

describe("a leader whose event loop is blocked for 20 seconds", () => {
  scopedLive("is killed in time, and its thread acts no more when the other host leads", () =>
    Effect.gen(function*() {
      const { answer, ended, journal, next, renewals, term } = yield* scene(short)
      yield* journal.tell("a block 20")
      yield* answer("a: blocking")
      const blocked = Journal.now()
      const { at, signal } = yield* ended
      const successor = yield* next
      yield* goesOn(journal, successor)
      journal.judge()
      assert.strictEqual(signal, "SIGKILL")
      const renewed = renewals.last(term.token)
      assert.isAtMost(at - renewed.before, Programs.stopBound(short))
      assert.isAtLeast(term.last - renewed.after, short.renewDeadline, "it was killed too early")
      assert.isAtLeast(successor.first - renewed.after, short.duration)
      assert.isAtMost(successor.first - renewed.before, Programs.takeoverBound(short))
      yield* Journal.note("a blocked event loop: killed after", at - blocked)
    }))
})

describe("a leader that keeps its database busy", () => {
  scopedLive(
    "with forty fenced writers, and then with no connection left in its pool, goes on",
    () =>
      Effect.gen(function*() {
        const { answer, journal, server, term } = yield* scene(patient, 40)
        yield* journal.tell("a writers 40")
        yield* answer("a: writing")
        yield* Effect.sleep(patient.duration)
        yield* journal.tell("a hog 10")
        yield* Effect.sleep("10 seconds")
        yield* keepsLeading(journal)
        const [row] = yield* server.sql(`SELECT count(*)::int AS n FROM written WHERE token = ${term.token}`)
        assert.isAtLeast(Number(row?.["n"]), 40)
      })
  )

  scopedLive(
    "and whose row a user locks: it goes on if that ends in time, and otherwise stops in order",
    () =>
      Effect.gen(function*() {
        const { ended, journal, lease, next, server, term } = yield* scene(short)
        const lock = yield* Postgres.lockRow(server, "postgres", lease.name)
        yield* Effect.sleep("1500 millis")
        yield* lock.release
        yield* Effect.sleep(short.renewDeadline)
        yield* keepsLeading(journal)
        const again = yield* Postgres.lockRow(server, "postgres", lease.name)
        const locked = Journal.now()
        const { code, stderr } = yield* ended
        assert.strictEqual(code, 1, stderr)
        assert.isAtMost(term.last - locked, Programs.stopBound(short))
        yield* Effect.sleep(short.duration)
        assert.lengthOf(journal.terms, 1)
        yield* again.release
        yield* goesOn(journal, yield* next)
        journal.judge()
      })
  )
})
