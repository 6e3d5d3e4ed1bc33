/**
 * These tests run gateways as Windows programs under wine, and check that only one of them serves. The kernel lock is
 * `LockFileEx`, from the Windows build of the addon.
 */
import { assert, describe, it } from "@effect/vitest"
import { Array, Effect, Option, Schema } from "effect"
import * as Clients from "../e2e/support/clients.ts"
import * as Gateways from "../e2e/support/gateways.ts"
import type * as Processes from "../e2e/support/processes.ts"
import * as Windows from "./support/windows.ts"

const refusal = (site: Gateways.Site) => `another gateway instance is already listening on ${Gateways.url(site)}`

/**
 * The output so far of a gateway that still runs, in the form of an ended process, because the checks of output need that
 * form.
 */
const soFar = (gateway: Processes.Running): Effect.Effect<Processes.Ended> =>
  Effect.map(gateway.stderr, (stderr) => ({ code: null, signal: null, stdout: "", stderr }))

const Status = Schema.parseJson(Schema.Struct({
  verdict: Schema.String,
  lock: Schema.Struct({ state: Schema.String, enforcement: Schema.optional(Schema.String) }),
  owner: Schema.optional(
    Schema.Struct({ pid: Schema.Number, pidMeaning: Schema.String, command: Schema.optional(Schema.String) })
  ),
  port: Schema.Struct({ listeners: Schema.Array(Schema.Struct({ host: Schema.String, pid: Schema.Number })) })
}))

const Findings = Schema.parseJson(
  Schema.Struct({
    findings: Schema.Array(Schema.Struct({ check: Schema.String, severity: Schema.String, message: Schema.String }))
  })
)

const statusOf = (site: Gateways.Site) =>
  Effect.gen(function*() {
    const { code, stderr, stdout } = yield* Windows.gateway(site, { command: "status", flags: ["--json"] })
    assert.strictEqual(stderr, "")
    return { code, ...(yield* Effect.orDie(Schema.decodeUnknown(Status)(stdout))) }
  })

describe("a gateway on Windows", () => {
  it.scopedLive("starts, refuses a second start, is succeeded after a crash, and is stopped", () =>
    Effect.gen(function*() {
      const site = yield* Windows.newSite()
      const first = yield* Windows.startListening(site)
      const owner = yield* Windows.record(site)
      assert.deepInclude(owner, {
        configPath: site.configPath,
        stateDir: site.stateDir,
        port: site.port,
        phase: "listening",
        lock: "kernel",
        supervisor: "none"
      })
      assert.strictEqual(yield* Clients.instanceIdOf(site), owner.instanceId)

      const second = yield* Windows.gateway(site)
      Gateways.assertRefused(second, refusal(site))
      assert.deepInclude(Gateways.facts(second), {
        // The error does not name the program of the owner. Only PowerShell could find out that name, and a refused start does
        // not wait for PowerShell.
        "held by": `pid ${owner.pid}`,
        phase: "listening",
        config: site.configPath,
        state: site.stateDir,
        listener: "a healthy gateway"
      })
      assert.deepStrictEqual(yield* Windows.record(site), owner)

      yield* Windows.crash(site, first)
      const next = yield* Windows.startListening(site)
      const successor = yield* Windows.record(site)
      assert.notStrictEqual(successor.instanceId, owner.instanceId)
      Gateways.assertReclaimedOnce(
        yield* soFar(next),
        new RegExp(`left by pid ${owner.pid} since ${owner.createdAt}, .*: its kernel lock is free`)
      )

      const stop = yield* Windows.gateway(site, { command: "stop" })
      assert.strictEqual(stop.stdout, `stopped gateway on ${Gateways.url(site)} (pid ${successor.pid})\n`, stop.stderr)
      assert.strictEqual(stop.code, 0)
      yield* next.ended
      yield* Windows.startListening(site)
    }))

  it.scopedLive("drains on Ctrl+C in its console, releases its lock and ends with 0", () =>
    Effect.gen(function*() {
      const site = yield* Windows.newSite()
      const first = yield* Windows.startListening(site, { console: true })
      const control = yield* Clients.greeted(site)
      yield* first.interrupt
      assert.strictEqual((yield* control.closed).code, 1001)
      const ended = yield* first.ended
      yield* Gateways.assertClean(ended)
      assert.strictEqual(Gateways.count(ended.stderr, /gateway stopping on SIGINT/), 1, ended.stderr)
      assert.strictEqual(Gateways.count(ended.stderr, /gateway stopped: .*released lock/), 1, ended.stderr)
      assert.deepStrictEqual(yield* Windows.lockNames(site), [])
    }))

  it.scopedLive("is shown by status, health, list and doctor, in each state", () =>
    Effect.gen(function*() {
      const site = yield* Windows.newSite()
      assert.deepInclude(yield* statusOf(site), { code: 3, verdict: "not-running" })

      const first = yield* Windows.startListening(site)
      const { pid } = yield* Windows.record(site)
      // On a busy machine, netstat can take longer than `status` waits for it. Then the list of listeners is empty, so the
      // test runs `status` again.
      const status = yield* statusOf(site).pipe(
        Effect.repeat({ until: ({ port }) => port.listeners.length > 0, times: 5 })
      )
      assert.deepStrictEqual(status, {
        code: 0,
        verdict: "running",
        lock: { state: "held", enforcement: "kernel" },
        owner: { pid, pidMeaning: "Alive", command: "node.exe" },
        port: { listeners: [{ host: "127.0.0.1", pid }] }
      })
      assert.strictEqual((yield* Windows.gateway(site, { command: "health" })).code, 0)
      const doctor = yield* Windows.gateway(site, { command: "doctor", flags: ["--json"] })
      const { findings } = yield* Effect.orDie(Schema.decodeUnknown(Findings)(doctor.stdout))
      assert.deepStrictEqual(findings.filter(({ severity }) => severity === "error"), [], doctor.stdout)
      assert.strictEqual(doctor.code, 0, doctor.stdout)

      yield* Windows.crash(site, first)
      assert.deepInclude(yield* statusOf(site), { code: 1, verdict: "dead" })
      assert.strictEqual((yield* Windows.gateway(site, { command: "health" })).code, 1)
      assert.strictEqual((yield* Windows.gateway(site, { command: "stop" })).code, 0)
    }))
})

describe("8 simultaneous starts on Windows", () => {
  const round = (site: Gateways.Site) =>
    Effect.gen(function*() {
      const gateways = yield* Effect.forEach(
        Array.range(1, 8),
        () => Windows.startGateway(site, { flags: ["--lock-timeout", "1 minutes"], patience: "100 seconds" }),
        { concurrency: "unbounded" }
      )
      const outcomes = yield* Effect.forEach(
        gateways,
        (gateway) =>
          Effect.raceFirst(
            Effect.asSome(gateway.ended),
            Effect.as(gateway.listening, Option.none<Processes.Ended>())
          ),
        { concurrency: "unbounded" }
      )
      const losers = Array.getSomes(outcomes)
      assert.lengthOf(losers, 7, losers.map(({ stderr }) => stderr).join("\n"))
      const { pid } = yield* Windows.record(site)
      for (const { code, stderr } of losers) {
        assert.strictEqual(code, 1, stderr)
        assert.include(stderr, `GatewayLockError: ${refusal(site)}\n`)
        assert.match(stderr, new RegExp(`held by: +pid ${pid}\n`))
      }
      yield* Windows.terminate(pid)
    })

  it.scopedLive("have exactly one winner, named by every loser, after a crash too", () =>
    Effect.gen(function*() {
      const site = yield* Windows.newSite()
      yield* Effect.scoped(round(site))
      yield* Effect.scoped(round(site))
    }))
})

describe("a start on Windows beside an owner", () => {
  it.scopedLive("stands by, and takes over when that one crashes", () =>
    Effect.gen(function*() {
      const site = yield* Windows.newSite()
      const first = yield* Windows.startListening(site)
      const standby = yield* Windows.startGateway(site, { flags: ["--standby"] })
      yield* standby.line(/standing by: /)
      const pid = yield* Windows.crash(site, first)
      yield* Gateways.within("10 seconds", standby.listening)
      Gateways.assertReclaimedOnce(yield* soFar(standby), new RegExp(`left by pid ${pid} since`))
    }))

  it.scopedLive("under a supervisor leaves a healthy one in control", () =>
    Effect.gen(function*() {
      const site = yield* Windows.newSite()
      yield* Windows.startListening(site)
      const before = yield* Windows.record(site)
      for (const supervisor of ["external", "schtasks"]) {
        const { code, stderr } = yield* Windows.gateway(site, { flags: ["--supervisor", supervisor] })
        assert.strictEqual(code, 0, stderr)
        assert.include(
          stderr,
          `GatewayLockError: gateway already running under ${supervisor}; existing gateway is healthy, leaving it in control\n`
        )
      }
      const { code, stderr } = yield* Windows.gateway(site, { flags: ["--ensure"] })
      assert.strictEqual(code, 0, stderr)
      assert.deepStrictEqual(yield* Windows.record(site), before)
    }))

  it.scopedLive("with --force ends that one and starts", () =>
    Effect.gen(function*() {
      const site = yield* Windows.newSite()
      const first = yield* Windows.startListening(site)
      const before = yield* Windows.record(site)
      const second = yield* Windows.startListening(site, { flags: ["--force"] })
      yield* first.ended
      assert.match(yield* second.stderr, new RegExp(`pid ${before.pid} has ended`))
      assert.notStrictEqual((yield* Windows.record(site)).instanceId, before.instanceId)
    }))
})

describe("a gateway on Windows without the addon", () => {
  const bare = { main: Windows.installed.bareMain }

  it.scopedLive("warns once, refuses a second start, and is succeeded after a crash", () =>
    Effect.gen(function*() {
      const site = yield* Windows.newSite()
      const first = yield* Windows.startListening(site, bare)
      const owner = yield* Windows.record(site)
      assert.strictEqual(owner.lock, "record")
      const stderr = yield* first.stderr
      assert.strictEqual(Gateways.count(stderr, /level=WARN .*no kernel lock for .*fs-native-extensions/), 1, stderr)

      Gateways.assertRefused(yield* Windows.gateway(site, bare), refusal(site))
      const port = yield* Gateways.onAnotherPort(site)
      const other = yield* Windows.gateway(port, bare)
      assert.include(
        other.stderr,
        `GatewayLockError: gateway already running (pid ${owner.pid}) on ${Gateways.url(site)}\n`
      )
      // The owner holds no kernel lock, and only its record keeps other starts out. A start that can use kernel locks must be
      // refused too.
      const locking = yield* Windows.gateway(port)
      assert.include(
        locking.stderr,
        `GatewayLockError: gateway already running (pid ${owner.pid}) on ${Gateways.url(site)}\n`
      )
      assert.deepStrictEqual(yield* Windows.record(site), owner)

      yield* Windows.crash(site, first)
      const next = yield* Windows.startListening(site, bare)
      Gateways.assertReclaimedOnce(yield* soFar(next), new RegExp(`left by pid ${owner.pid} since .*: owner gone`))
    }))
})
