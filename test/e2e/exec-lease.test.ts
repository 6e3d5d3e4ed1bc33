/**
 * `gateway exec` with a lease in a real PostgreSQL server: real wrappers, watchdogs and commands.
 */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Postgres from "../fixtures/postgres.ts"
import { unless } from "../fixtures/skips.ts"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Looking from "./support/looking.ts"
import type * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"

/** Short times, which leave room for a busy machine. */
const times = {
  GATEWAY_LEASE_DURATION: "5 seconds",
  GATEWAY_LEASE_RENEW_INTERVAL: "500 millis",
  GATEWAY_LEASE_ATTEMPT_TIMEOUT: "500 millis",
  GATEWAY_LEASE_RENEW_DEADLINE: "2500 millis",
  GATEWAY_LEASE_STOP_TIMEOUT: "2 seconds"
}

const skipped = Postgres.noPostgres ?? (Program.isLinux ? undefined : "needs Linux")

/** Starts a wrapper on a host of its own, as far as its folders and port go. */
const start = (url: string, words: ReadonlyArray<string>, flags: ReadonlyArray<string> = []) =>
  Effect.gen(function*() {
    const site = yield* Gateways.newSite
    const wrapper = yield* Execs.start(site, words, {
      env: { ...times, GATEWAY_LEASE_URL: url },
      flags: ["--ready", "none", ...flags]
    })
    return { site, wrapper }
  })

/** The wrapper that leads, with the pid of its command, and a wrapper that waits. */
const pair = (words: ReadonlyArray<string>, flags: ReadonlyArray<string> = []) =>
  Effect.gen(function*() {
    const server = yield* Postgres.startPostgres()
    const { site, wrapper: leader } = yield* start(server.url(), words, flags)
    const pid = yield* Execs.pidOf(leader)
    const { site: candidateSite, wrapper: candidate } = yield* start(server.url(), Execs.child("ends"))
    yield* candidate.line(/waiting to lead default at /)
    return { server, site, leader, pid, candidate, candidateSite }
  })

/** The pid of the watchdog of a wrapper: its other child. */
const watchdogOf = (wrapper: Processes.Running, command: number) =>
  Effect.promise(async () => {
    const text = await Fs.readFile(`/proc/${wrapper.pid}/task/${wrapper.pid}/children`, "utf8")
    return text.trim().split(" ").map(Number).find((pid) => pid !== command) ?? 0
  }).pipe(Effect.tap(Execs.killLater))

const environmentOf = (pid: number) =>
  Effect.promise(async () => (await Fs.readFile(`/proc/${pid}/environ`, "utf8")).split("\0"))

unless(skipped).describe("gateway exec with a lease", () => {
  unless(skipped).scopedLive(
    "runs its command on one host, and on the next one once it has ended",
    () =>
      Effect.gen(function*() {
        const { candidate, leader, pid } = yield* pair(Execs.child("ends"))
        const watchdog = yield* watchdogOf(leader, pid)
        const environment = yield* environmentOf(pid)
        const [token = ""] = environment.filter((entry) => entry.startsWith("GATEWAY_FENCING_TOKEN="))
        assert.match(token, /=\d+$/)
        assert.isFalse(environment.some((entry) => entry.startsWith("GATEWAY_LEASE_URL=")))
        assert.deepStrictEqual((yield* environmentOf(watchdog)).filter((entry) => entry.startsWith("GATEWAY_")), [])
        // systemd sends SIGTERM to all processes of a unit, so also to the watchdog.
        yield* Effect.sync(() => process.kill(watchdog, "SIGTERM"))
        yield* leader.signal("SIGTERM")
        const next = yield* Execs.pidOf(candidate)
        const [nextToken = ""] = (yield* environmentOf(next)).filter((entry) =>
          entry.startsWith("GATEWAY_FENCING_TOKEN=")
        )
        assert.isAbove(Number(nextToken.split("=")[1]), Number(token.split("=")[1]))
        yield* leader.ended
        yield* Execs.untilEnded(watchdog)
        assert.isTrue(yield* Execs.hasEnded(pid))
      })
  )

  unless(skipped).scopedLive(
    "says in its record who leads and who stands by, and a second start leaves both in control",
    () =>
      Effect.gen(function*() {
        const { candidateSite, leader, server, site } = yield* pair(Execs.child("ends"))
        const standby = yield* Looking.expectStatus(candidateSite, "standby", { writes: true })
        assert.match(standby.rows["lease"] ?? "", /^default at postgresql:.*, stands by$/)
        assert.deepInclude(standby.status.owner, { phase: "starting" })
        assert.deepInclude(standby.status.health, { healthy: true, detail: "it waits to lead default" })
        const running = yield* Looking.expectStatus(site, "running", { writes: true })
        assert.match(running.rows["lease"] ?? "", /, leads$/)
        assert.match(running.rows["token"] ?? "", /^\d+$/)
        for (const owned of [candidateSite, site]) {
          const again = (env: Record<string, string>, ...flags: ReadonlyArray<string>) =>
            Execs.run(owned, Execs.child("ends"), {
              env: { ...times, GATEWAY_LEASE_URL: server.url(), ...env },
              flags: ["--ready", "none", "--lock-timeout", "200 millis", ...flags]
            })
          const ensured = yield* again({}, "--ensure")
          assert.strictEqual(ensured.code, 0, ensured.stderr)
          const supervised = yield* again({ GATEWAY_SUPERVISOR: "systemd" })
          assert.strictEqual(supervised.code, 78, supervised.stderr)
        }
        yield* leader.signal("SIGTERM")
        yield* leader.ended
      })
  )

  unless(skipped).scopedLive(
    "whose wrapper is killed: the watchdog kills the command, its children in other sessions, and its daemon",
    () =>
      Effect.gen(function*() {
        // The shell starts a process that becomes a daemon with the inherited lock, and one in a session of its own.
        const script = "trap '' TERM; setsid sh -c 'echo daemon $$ >&2; exec sleep 60' & "
          + "setsid -f sh -c 'echo orphan $$ >&2; exec sleep 60'; echo child $$ >&2; while :; do sleep 1; done"
        const { candidate, leader, pid } = yield* pair(["sh", "-c", script])
        const others = [yield* Execs.pidOf(leader, "daemon"), yield* Execs.pidOf(leader, "orphan")]
        yield* leader.signal("SIGKILL")
        yield* leader.ended
        for (const gone of [pid, ...others]) yield* Execs.untilEnded(gone)
        assert.match(
          yield* leader.stderr,
          /^gateway: its wrapper has ended, so the command was killed \(\d+ processes\)$/m
        )
        yield* Execs.pidOf(candidate)
      })
  )

  unless(skipped).scopedLive(
    "whose wrapper is stopped for longer than its lease: the watchdog kills the command",
    () =>
      Effect.gen(function*() {
        const { candidate, leader, pid } = yield* pair(Execs.child())
        yield* leader.signal("SIGSTOP")
        yield* Execs.untilEnded(pid)
        yield* Execs.pidOf(candidate)
        yield* leader.signal("SIGCONT")
        const { code, stderr } = yield* leader.ended
        assert.strictEqual(code, 125, stderr)
        assert.match(stderr, /this host must not lead any more, so the command was killed/)
      })
  )

  unless(skipped).scopedLive(
    "without its store: the command is stopped in time, whatever --stop-timeout says",
    () =>
      Effect.gen(function*() {
        const { leader, pid, server } = yield* pair(Execs.child(), ["--stop-timeout", "1 hour"])
        yield* server.stop
        const { code, stderr } = yield* leader.ended
        assert.strictEqual(code, 125, stderr)
        assert.match(stderr, /^GatewayLockError: lost leadership of default: it was not renewed within 2s 500ms$/m)
        assert.isTrue(yield* Execs.hasEnded(pid))
      })
  )

  unless(skipped).scopedLive("whose watchdog is killed: the command is stopped", () =>
    Effect.gen(function*() {
      const { candidate, leader, pid } = yield* pair(Execs.child("ends"))
      const watchdog = yield* watchdogOf(leader, pid)
      yield* Effect.sync(() => process.kill(watchdog, "SIGKILL"))
      const { code, stderr } = yield* leader.ended
      assert.strictEqual(code, 125, stderr)
      assert.include(stderr, "the watchdog of the command has ended (SIGKILL)")
      assert.isTrue(yield* Execs.hasEnded(pid))
      yield* Execs.pidOf(candidate)
    }))
})
