/**
 * `gateway doctor` with a lease, on real PostgreSQL servers and a real etcd.
 */
import { assert } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as DoctorReport from "../../src/doctor/DoctorReport.ts"
import * as Etcd from "../fixtures/etcd.ts"
import * as Postgres from "../fixtures/postgres.ts"
import { unless } from "../fixtures/skips.ts"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Ports from "./support/ports.ts"

/** Short times, so that the first leader need not wait for long. */
const times = {
  GATEWAY_LEASE_DURATION: "4 seconds",
  GATEWAY_LEASE_RENEW_INTERVAL: "500 millis",
  GATEWAY_LEASE_ATTEMPT_TIMEOUT: "500 millis",
  GATEWAY_LEASE_RENEW_DEADLINE: "2500 millis",
  GATEWAY_LEASE_STOP_TIMEOUT: "1 second"
}

const preload = fileURLToPath(new URL("../fixtures/loadedFiles.cjs", import.meta.url))

const decode = Schema.decodeUnknownSync(Schema.parseJson(DoctorReport.DoctorReport), { onExcessProperty: "error" })

/** Runs `doctor`, and returns its findings about the lease, and those of them that are problems. */
const examine = (site: Gateways.Site, url: string, options: Gateways.StartOptions = {}) =>
  Effect.gen(function*() {
    const { code, stderr, stdout } = yield* Gateways.run(site, {
      ...options,
      env: { ...(url === "" ? {} : { GATEWAY_LEASE_URL: url }), ...options.env },
      flags: ["doctor", "--json", ...(options.flags ?? [])]
    })
    const report = decode(stdout)
    assert.strictEqual(code, report.healthy ? 0 : 1, stderr)
    const problems = report.findings.filter(DoctorReport.isProblem)
    for (const { message, remedy } of problems) assert.isString(remedy, message)
    assert.notInclude(stdout, "secret")
    const findings = report.findings.filter(({ check }) => check === "lease")
    return {
      all: findings.map(({ message, severity }) => `${severity} ${message}`),
      problems: problems.map(({ message, remedy, severity }) => [`${severity} ${message}`, remedy ?? ""] as const)
    }
  })

/** Runs the SQL of a remedy as an administrator, with the program that the remedy names. */
const apply = (server: Postgres.PostgresServer, remedy: string) =>
  Effect.gen(function*() {
    const words = /^psql (\S+)((?: -c (?:'(?:[^']|'\\'')*'|\S+))+)$/.exec(remedy)
    assert.isNotNull(words, remedy)
    for (const [, quoted = "", bare = ""] of (words?.[2] ?? "").matchAll(/ -c (?:'((?:[^']|'\\'')*)'|(\S+))/g)) {
      yield* server.sql(quoted === "" ? bare : quoted.replaceAll("'\\''", "'"))
    }
  })

/** The next number of a transaction that changes something. It grows with each change. */
const changes = (server: Postgres.PostgresServer) =>
  Effect.map(server.sql("SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS next"), ([row]) => row?.["next"])

const test = unless(Postgres.noPostgres)

test.describe("gateway doctor with a lease in PostgreSQL", () => {
  test.scopedLive("finds nothing wrong with a good server, and changes nothing in it", () =>
    Effect.gen(function*() {
      const server = yield* Postgres.startPostgres({ fsync: "on", autovacuum: "off" })
      const site = yield* Gateways.newSite
      const before = yield* changes(server)
      const { all, problems } = yield* examine(site, server.url())
      assert.deepStrictEqual(problems, [])
      assert.match(all.join("\n"), /^ok lease default: a leader that cannot renew it ends after 14s at the latest; /)
      assert.include(all.join("\n"), "after a crash, another host leads within 20s")
      assert.match(all.join("\n"), /^ok the server has version 1\d\.\d/m)
      assert.match(all.join("\n"), /^ok table gateway_lock\.lease does not exist yet: the first gateway creates it$/m)
      assert.strictEqual(yield* changes(server), before)
      const [row] = yield* server.sql("SELECT to_regnamespace('gateway_lock') IS NULL AS absent")
      assert.deepStrictEqual(row, { absent: true })
    }))

  test.scopedLive("finds missing rights and fsync, each with the command that fixes it", () =>
    Effect.gen(function*() {
      const server = yield* Postgres.startPostgres()
      const site = yield* Gateways.newSite
      yield* server.sql("CREATE ROLE \"it's me\" LOGIN PASSWORD 'secret'")
      const url = server.url({ user: "it's%20me", password: "secret" })
      const { problems } = yield* examine(site, url)
      assert.deepStrictEqual(
        problems.map(([message]) => message.replace(/:? after a power cut.*/, "")),
        [
          "warning fsync is off",
          "error table gateway_lock.lease does not exist, and role \"it's me\" may not create it"
        ]
      )
      for (const [, remedy] of problems) yield* apply(server, remedy)
      yield* Execs.until(
        "fsync is on",
        Effect.orDie(Effect.map(server.sql("SHOW fsync"), ([row]) => row?.["fsync"] === "on"))
      )
      assert.deepStrictEqual((yield* examine(site, url)).problems, [])
      yield* server.sql("ALTER TABLE gateway_lock.lease SET UNLOGGED")
      const [unlogged, ...others] = (yield* examine(site, url)).problems
      assert.match(unlogged?.[0] ?? "", /^error table gateway_lock\.lease is not logged/)
      assert.deepStrictEqual(others, [])
      yield* apply(server, unlogged?.[1] ?? "")
      assert.deepStrictEqual((yield* examine(site, url)).problems, [])
    }))

  test.scopedLive("says what the running gateway does, and that one was started without a lease", () =>
    Effect.gen(function*() {
      const server = yield* Postgres.startPostgres({ fsync: "on" })
      const one = yield* Gateways.newSite
      const env = { ...times, GATEWAY_LEASE_URL: server.url() }
      const leader = yield* Gateways.startListening(one, { env })
      yield* leader.line(/leads default with fencing token/)
      const two = yield* Gateways.newSite
      const candidate = yield* Execs.start(two, Execs.child("ends"), { env })
      yield* candidate.line(/waiting to lead default at /)
      const led = yield* examine(one, server.url())
      assert.deepStrictEqual([led.problems, led.all.at(-1)], [[], "ok the running gateway leads default"])
      const waits = yield* examine(two, server.url())
      assert.deepStrictEqual([waits.problems, waits.all.at(-1)], [[], "ok the running gateway waits to lead default"])
      assert.deepStrictEqual((yield* examine(two, "")).all, [
        "info the running gateway uses lease default, which the settings given to this command do not name",
        "ok the running gateway waits to lead default"
      ])
      const named = yield* examine(one, server.url(), { flags: ["--lease-name", "reports"] })
      assert.deepStrictEqual(named.problems.map(([message]) => message), [
        "warning the running gateway uses lease default, the settings say reports"
      ])
      const [three] = yield* Gateways.newGateway()
      const [[message, remedy] = []] = (yield* examine(three, server.url())).problems
      assert.strictEqual(
        message,
        "warning the running gateway has no lease: it was started without these settings"
      )
      assert.match(remedy ?? "", / stop /)
    }))
})

unless(undefined).describe("gateway doctor with a lease whose store cannot be asked", () => {
  unless(undefined).scopedLive("says so, and where the URL is", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const url = `postgresql://me:secret@127.0.0.1:${yield* Ports.reserve}/a`
      const [[message, remedy] = []] = (yield* examine(site, url)).problems
      assert.match(message ?? "", /^error postgresql:\/\/127\.0\.0\.1:\d+\/a cannot keep a lease: .*ECONNREFUSED/)
      assert.match(remedy ?? "", /^# start postgresql:.*, or correct GATEWAY_LEASE_URL$/)
      const file = Path.join(site.root, "lease-url")
      yield* Effect.promise(() => Fs.writeFile(file, url, { mode: 0o644 }))
      const flags = ["--lease-url-file", file]
      const [[open, chmod] = []] = (yield* examine(site, "", { flags })).problems
      assert.match(open ?? "", /^error invalid lease URL file .*: other users may read or change it \(mode 0644\)$/)
      const { code } = yield* Gateways.run(site, { under: ["sh", "-c", chmod ?? "false"] })
      assert.strictEqual(code, 0)
      const [[down, edit] = []] = (yield* examine(site, "", { flags })).problems
      assert.match(down ?? "", /cannot keep a lease/)
      assert.include(edit ?? "", `correct its URL: \${EDITOR:-vi} ${file}`)
      const [[absent] = []] = (yield* examine(site, "", { flags: ["--lease-url-file", `${file}.absent`] })).problems
      assert.match(absent ?? "", /^error invalid lease URL file .*absent/)
      const times = { GATEWAY_LEASE_DURATION: "5 seconds" }
      const refused = yield* Gateways.run(site, { env: { GATEWAY_LEASE_URL: url, ...times }, flags: ["doctor"] })
      assert.match(refused.stdout + refused.stderr, /lease\.renewDeadline \+ lease\.stopTimeout/)
    }))
})

unless(undefined).describe("gateway doctor", () => {
  unless(undefined).scopedLive("loads the code of a lease only with a lease", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const loaded = (env: Record<string, string>) =>
        Effect.map(
          Gateways.run(site, { env: { ...env, NODE_OPTIONS: `--require ${preload}` }, flags: ["doctor"] }),
          ({ stderr }) => /^loaded: (.*)$/m.exec(stderr)?.[1]?.split(" ") ?? []
        )
      const without = yield* loaded({})
      assert.include(without, "doctor")
      for (const name of ["LeaseAudit", "PostgresLeaseStore", "EtcdLeaseStore"]) assert.notInclude(without, name)
      const with_ = yield* loaded({ GATEWAY_LEASE_URL: `postgresql://127.0.0.1:${yield* Ports.reserve}/a` })
      assert.includeMembers(with_, ["LeaseAudit", "PostgresLeaseStore"])
      assert.notInclude(with_, "EtcdLeaseStore")
    }))
})

unless(Etcd.noEtcd).describe("gateway doctor with a lease in etcd", () => {
  unless(Etcd.noEtcd).scopedLive("checks the version, and changes nothing", () =>
    Effect.gen(function*() {
      const etcd = yield* Etcd.start()
      const site = yield* Gateways.newSite
      const revision = Effect.map(
        etcd.post("kv/range", { key: Etcd.base64("a") }),
        ({ header }) => JSON.stringify(Object.entries(header ?? {}).filter(([key]) => key === "revision"))
      )
      const before = yield* revision
      const { all, problems } = yield* examine(site, etcd.url)
      assert.match(all.join("\n"), /^ok etcd\+http:\/\/\S+ can keep leases below /m)
      // Debian's version is one that can end leases early.
      for (const [message, remedy] of problems) {
        assert.match(message, /^warning etcd member \S+ runs version \S+: it can end a lease early/)
        assert.match(remedy, /^# upgrade the server of etcd\+http:/)
      }
      assert.strictEqual(yield* revision, before)
      yield* Effect.forEach(etcd.members, ({ kill }) => kill)
      const down = yield* examine(site, etcd.url)
      assert.match(down.problems.map(([message]) => message).join("\n"), /^error etcd\+http:\S+ cannot keep a lease: /m)
    }))
})
