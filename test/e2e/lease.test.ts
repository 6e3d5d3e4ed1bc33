/**
 * The built program with a lease, in a real PostgreSQL server and in a real etcd.
 */
import { assert } from "@effect/vitest"
import { Clock, Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Etcd from "../fixtures/etcd.ts"
import * as Postgres from "../fixtures/postgres.ts"
import { unless } from "../fixtures/skips.ts"
import * as Clients from "./support/clients.ts"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Looking from "./support/looking.ts"
import type * as Processes from "./support/processes.ts"

/** Short times, so that a takeover after a crash takes some seconds. They leave room for a busy machine. */
const times = {
  GATEWAY_LEASE_DURATION: "4 seconds",
  GATEWAY_LEASE_RENEW_INTERVAL: "500 millis",
  GATEWAY_LEASE_ATTEMPT_TIMEOUT: "500 millis",
  GATEWAY_LEASE_RENEW_DEADLINE: "2500 millis",
  GATEWAY_LEASE_STOP_TIMEOUT: "1 second"
}
const lease = 4000

const readiness = (site: Gateways.Site) =>
  Effect.map(Clients.request(site, "/readyz"), ({ body, status }) => `${status} ${body}`)
const ready = "200 {\"ready\":true}"
const awaited = "503 {\"ready\":false,\"failing\":[\"leadership\"]}"

/** Waits until a new leader is ready. It writes into its lock file that it leads, after it has logged it. */
const untilReady = (site: Gateways.Site) =>
  Execs.until("the readiness of the leader", Effect.map(readiness(site), (answer) => answer === ready))

const leads = ({ line }: Processes.Running) => line(/leads default with fencing token \d+/)
const waits = ({ line }: Processes.Running) => line(/waiting to lead default at /)
const tokenOf = (line: string): bigint => BigInt(/fencing token (\d+)/.exec(line)?.[1] ?? "0")

/** Starts a gateway on a host of its own, as far as its folders and port go. */
const start = (site: Gateways.Site, url: string, env: Record<string, string> = {}) =>
  Gateways.startListening(site, { env: { ...times, GATEWAY_LEASE_URL: url, ...env } })

/** A leader and a candidate. */
const pair = (url: string) =>
  Effect.gen(function*() {
    const one = yield* Gateways.newSite
    const leader = yield* start(one, url)
    const token = tokenOf(yield* leads(leader))
    const two = yield* Gateways.newSite
    const candidate = yield* start(two, url)
    yield* waits(candidate)
    yield* untilReady(one)
    assert.strictEqual(yield* readiness(two), awaited)
    return { one, two, leader, candidate, token }
  })

const engines = [
  {
    name: "PostgreSQL",
    skip: Postgres.noPostgres,
    open: Effect.map(Postgres.startPostgres(), ({ stop, url }) => ({ url: url(), stop }))
  },
  {
    name: "etcd",
    skip: Etcd.noEtcd,
    open: Effect.map(Etcd.start(), ({ members, url }) => ({
      url,
      stop: Effect.forEach(members, ({ kill }) => kill, { discard: true })
    }))
  }
]

for (const { name, open, skip } of engines) {
  unless(skip).describe(`gateway run with a lease in ${name}`, () => {
    unless(skip).scopedLive(
      "one leads, the other stands by, and takes over at once when the leader stops",
      () =>
        Effect.gen(function*() {
          const { url } = yield* open
          const { candidate, leader, one, token, two } = yield* pair(url)
          assert.match((yield* Clients.request(two, "/healthz")).body, /"status":"live"/)
          assert.strictEqual((yield* Clients.request(two, "/startupz")).status, 200)
          assert.strictEqual((yield* Clients.hello(two)).type, "hello")
          const metrics = yield* Effect.forEach([one, two], (site) => Clients.request(site, "/metrics"))
          assert.deepStrictEqual(
            metrics.map(({ body }) => /^gateway_leader (\d)$/m.exec(body)?.[1]),
            ["1", "0"]
          )
          assert.include(metrics[0]?.body ?? "", `gateway_leader_fencing_token ${token}`)
          assert.match(metrics[0]?.body ?? "", /gateway_lease_renew_seconds_count\{result="renewed"\} \d+/)
          assert.include(metrics[0]?.body ?? "", "gateway_leadership_lost_total{reason=\"expired\"} 0")
          const stopped = yield* Clock.currentTimeMillis
          const ended = yield* Gateways.stop(leader)
          assert.strictEqual(ended.code, 0, ended.stderr)
          assert.isTrue(tokenOf(yield* leads(candidate)) > token)
          // Much less than the lease, which the candidate would have to wait for after a crash.
          assert.isBelow((yield* Clock.currentTimeMillis) - stopped, lease)
          yield* untilReady(two)
        })
    )

    unless(skip).scopedLive(
      "status, list and health say who leads and who stands by, and a second start leaves both in control",
      () =>
        Effect.gen(function*() {
          const { url } = yield* open
          const { leader, one, token, two } = yield* pair(url)
          const standby = yield* Looking.expectStatus(two, "standby", { writes: true })
          assert.match(standby.rows["lease"] ?? "", /^default at \S+:\d+\S*, stands by$/)
          assert.strictEqual(standby.rows["because"], "its owner is healthy and waits to lead default")
          assert.strictEqual(standby.health, "")
          assert.deepInclude(standby.status.lease, { name: "default", state: "standby" })
          const running = yield* Looking.expectStatus(one, "running", { writes: true })
          assert.match(running.rows["lease"] ?? "", /, leads$/)
          assert.strictEqual(running.rows["token"], String(token))
          assert.match(running.rows["renewed"] ?? "", /^\S+Z \((just now|\d+s ago)\)$/)
          assert.match(running.rows["fence"] ?? "", /^stops leading in \ds unless it renews the lease$/)
          assert.deepInclude(running.status.lease, { name: "default", state: "leader", fencingToken: String(token) })
          const { list } = yield* Looking.list(two)
          const listed = list.gateways.find(({ stateDir }) => stateDir === two.stateDir)
          assert.deepStrictEqual([listed?.verdict, listed?.lease?.state], ["standby", "standby"])
          for (const site of [one, two]) {
            const ensured = yield* Gateways.run(site, { flags: ["--ensure"] })
            assert.strictEqual(ensured.code, 0, ensured.stderr)
            const supervised = yield* Gateways.run(site, { env: { GATEWAY_SUPERVISOR: "systemd" } })
            assert.strictEqual(supervised.code, 78, supervised.stderr)
          }
          assert.strictEqual((yield* Gateways.stop(leader)).code, 0)
        })
    )

    unless(skip).scopedLive(
      "a crashed leader that is started again on its host leads at once",
      () =>
        Effect.gen(function*() {
          const { url } = yield* open
          const { candidate, leader, one, token } = yield* pair(url)
          yield* Gateways.stop(leader, "SIGKILL")
          const again = yield* start(one, url)
          assert.isTrue(tokenOf(yield* leads(again)) > token)
          assert.notMatch(yield* candidate.stderr, /leads default/)
        })
    )

    unless(skip).scopedLive(
      "without its store, the leader ends with 1, and its successor waits",
      () =>
        Effect.gen(function*() {
          const { stop, url } = yield* open
          const { candidate, leader, two } = yield* pair(url)
          yield* stop
          const { code, stderr } = yield* leader.ended
          assert.strictEqual(code, 1, stderr)
          assert.match(stderr, /^GatewayLockError: lost leadership of default: it was not renewed within 2s 500ms$/m)
          assert.match(stderr, /gateway stopping \(leadership lost\)/)
          assert.strictEqual(yield* readiness(two), awaited)
          assert.strictEqual((yield* Gateways.stop(candidate)).code, 0)
        })
    )

    unless(skip).scopedLive(
      "a leader that was stopped for longer than its lease is killed when it goes on",
      () =>
        Effect.gen(function*() {
          const { url } = yield* open
          const { candidate, leader, two } = yield* pair(url)
          yield* leader.signal("SIGSTOP")
          yield* leads(candidate)
          yield* untilReady(two)
          yield* leader.signal("SIGCONT")
          const { code, signal } = yield* leader.ended
          // The thread kills it, or its event loop was faster.
          assert.isTrue(signal === "SIGKILL" || code === 1, `${signal} ${code}`)
        })
    )
  })
}

for (const { name, open, skip } of engines) {
  unless(skip).describe(`gateway leader with a lease in ${name}`, () => {
    unless(skip).scopedLive("shows the leader, and makes it hand over", () =>
      Effect.gen(function*() {
        const { url } = yield* open
        const site = yield* Gateways.newSite
        const run = (...args: ReadonlyArray<string>) =>
          Gateways.run(site, { args, env: { ...times, GATEWAY_LEASE_URL: url } })
        const before = yield* run("leader", "show")
        assert.strictEqual(before.code, 1, before.stderr)
        assert.include(before.stdout, "no gateway has led yet")
        const { candidate, leader, one, token } = yield* pair(url)
        const shown = yield* run("leader", "show", "--json")
        assert.strictEqual(shown.code, 0, shown.stderr)
        const { durationMs, fencingToken, holder, leads: isLed } = JSON.parse(shown.stdout)
        assert.deepStrictEqual([isLed, fencingToken, durationMs, holder.pid, holder.url], [
          true,
          String(token),
          lease,
          leader.pid,
          Gateways.url(one)
        ])
        assert.match((yield* run("leader", "show")).stdout, new RegExp(`led by .* \\(pid ${leader.pid}, `))
        const resigned = yield* run("leader", "resign")
        assert.strictEqual(resigned.code, 0, resigned.stderr)
        assert.include(resigned.stdout, `token ${token} no longer leads default`)
        const ended = yield* leader.ended
        assert.strictEqual(ended.code, 1, ended.stderr)
        assert.match(ended.stderr, /lost leadership of default: another process asked the leader to hand over/)
        assert.isTrue(tokenOf(yield* leads(candidate)) > token)
        yield* Gateways.stop(candidate)
        const after = yield* run("leader", "show")
        assert.deepStrictEqual([after.code, /released; last token/.test(after.stdout)], [1, true])
        assert.deepStrictEqual((yield* run("leader", "resign")).code, 1)
      }))
  })
}

unless(Postgres.noPostgres).describe("the URL of a lease", () => {
  unless(Postgres.noPostgres).scopedLive(
    "comes from a file that only its user can read, and never reaches an output",
    () =>
      Effect.gen(function*() {
        const server = yield* Postgres.startPostgres()
        const site = yield* Gateways.newSite
        const file = Path.join(site.root, "lease-url")
        yield* Effect.promise(() => Fs.writeFile(file, `${server.url({ password: "s3cret-word" })}\n`, { mode: 0o644 }))
        const flags = ["--lease-url-file", file, "--lease-name", "reports"]
        const open = yield* Gateways.run(site, { env: times, flags })
        assert.strictEqual(open.code, 64, open.stderr)
        assert.match(
          open.stderr,
          /invalid lease URL file .*: other users may read or change it \(mode 0644\); run: chmod 600 /
        )
        yield* Effect.promise(() => Fs.chmod(file, 0o600))
        const gateway = yield* Gateways.startListening(site, { env: times, flags: [...flags, "--log-level", "all"] })
        yield* gateway.line(/leads reports with fencing token/)
        const ended = yield* Gateways.stop(gateway)
        assert.notInclude(ended.stderr + ended.stdout + open.stderr, "s3cret")
      })
  )

  unless(Postgres.noPostgres).scopedLive("that the server refuses ends the start with 1", () =>
    Effect.gen(function*() {
      const server = yield* Postgres.startPostgres()
      const site = yield* Gateways.newSite
      const { code, stderr } = yield* Gateways.run(site, {
        env: { ...times, GATEWAY_LEASE_URL: server.url({ database: "absent" }) }
      })
      assert.strictEqual(code, 1, stderr)
      assert.match(stderr, /^GatewayLockError: failed to use lease default at postgresql:\/\/.*absent.*$/m)
    }))

  unless(Postgres.noPostgres).scopedLive("is needed by gateway leader", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { code, stderr } = yield* Gateways.run(site, { args: ["leader", "show"] })
      assert.strictEqual(code, 64, stderr)
      assert.include(stderr, "no lease is configured: set --lease-url-file")
    }))
})

const preload = fileURLToPath(new URL("../fixtures/loadedFiles.cjs", import.meta.url))

unless(Postgres.noPostgres).describe("the code of a lease", () => {
  unless(Postgres.noPostgres).scopedLive(
    "is loaded only with a lease, and only that of its engine",
    () =>
      Effect.gen(function*() {
        const server = yield* Postgres.startPostgres()
        const loaded = (env: Record<string, string>, until: (gateway: Processes.Running) => Effect.Effect<unknown>) =>
          Effect.gen(function*() {
            const site = yield* Gateways.newSite
            const gateway = yield* Gateways.startListening(site, {
              env: { ...times, ...env, NODE_OPTIONS: `--require ${preload}` }
            })
            yield* until(gateway)
            const { stderr } = yield* Gateways.stop(gateway)
            return /^loaded: (.*)$/m.exec(stderr)?.[1]?.split(" ") ?? []
          })
        const without = yield* loaded({}, () => Effect.void)
        assert.include(without, "serve")
        for (const name of ["lead", "PostgresLeaseStore", "EtcdLeaseStore"]) assert.notInclude(without, name)
        const with_ = yield* loaded(
          { GATEWAY_LEASE_URL: server.url() },
          leads
        )
        assert.includeMembers(with_, ["lead", "PostgresLeaseStore"])
        assert.notInclude(with_, "EtcdLeaseStore")
      })
  )
})
