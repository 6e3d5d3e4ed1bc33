import { assert, describe, it } from "@effect/vitest"
import { Clock, type Duration, Effect, Exit, Scope } from "effect"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import type * as Processes from "./support/processes.ts"
import * as Strangers from "./support/strangers.ts"

const under = (supervisor: string, env: Record<string, string> = {}): Gateways.StartOptions => ({
  env: { GATEWAY_SUPERVISOR: supervisor, ...env }
})

const impatient = { GATEWAY_HEALTH_TIMEOUT: "3 seconds", GATEWAY_HEALTH_RETRY_INTERVAL: "1 seconds" }

const timed = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const began = yield* Clock.currentTimeMillis
    const result = yield* self
    return { result, took: (yield* Clock.currentTimeMillis) - began }
  })

/**
 * Emulates a supervisor. It starts the program again after each exit for which `again` returns true, until the program has ended
 * `times` times. Each caller's `again` follows the rule in the documentation of one supervisor.
 */
const relaunched = (
  site: Gateways.Site,
  options: Gateways.StartOptions,
  again: (ended: Processes.Ended) => boolean,
  throttle: Duration.DurationInput,
  times: number
) =>
  Effect.gen(function*() {
    const exits: Array<number | null> = []
    while (exits.length < times) {
      const ended = yield* Gateways.run(site, options)
      exits.push(ended.code)
      if (!again(ended)) break
      yield* Effect.sleep(throttle)
    }
    return exits
  })

describe("a duplicate start under a supervisor", () => {
  it.scopedLive("exits 78 with the message under systemd, and leaves the owner alone", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      const before = yield* Gateways.identityOf(Gateways.configLock(site))
      const second = yield* Gateways.run(site, under("systemd"))
      assert.strictEqual(second.code, 78)
      assert.include(
        second.stderr,
        "GatewayLockError: gateway already running under systemd; existing gateway is healthy, exiting with code 78 to prevent a systemd Restart=always loop\n"
      )
      assert.deepStrictEqual(yield* Gateways.identityOf(Gateways.configLock(site)), before)
    }))

  it.scopedLive.each(["launchd", "schtasks", "external"])("exits 0 under %s", (supervisor) =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      const second = yield* Gateways.run(site, under(supervisor))
      assert.strictEqual(second.code, 0)
      assert.include(
        second.stderr,
        `GatewayLockError: gateway already running under ${supervisor}; existing gateway is healthy, leaving it in control\n`
      )
    }))

  it.scopedLive("believes no inherited variable", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      const second = yield* Gateways.run(site, {
        env: { SYSTEMD_EXEC_PID: "1", INVOCATION_ID: "0123456789abcdef", XPC_SERVICE_NAME: "com.example.job" }
      })
      Gateways.assertRefused(second, `another gateway instance is already listening on ${Gateways.url(site)}`)
    }))
})

describe("an owner that accepts and never answers", () => {
  it.scopedLive("is given up on after the health timeout, and not before", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Strangers.stalling(site)
      const { result, took } = yield* timed(Gateways.run(site, under("systemd", impatient)))
      assert.isAtLeast(took, 3000)
      assert.isBelow(took, 6000)
      assert.strictEqual(result.code, 1)
      assert.include(
        result.stderr,
        "GatewayLockError: gateway already running under systemd; existing gateway did not become healthy after 3000ms\n"
      )
      // The start makes several attempts, but logs only once that it waits for this owner.
      assert.strictEqual(Gateways.count(result.stderr, /waiting up to 3s for the owner/g), 1)
    }))

  it.scopedLive("is succeeded at once when it ends, not at the next interval", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Scope.make()
      yield* Scope.extend(Strangers.stalling(site), owner)
      const waiting = yield* Gateways.start(
        site,
        under("systemd", { GATEWAY_HEALTH_RETRY_INTERVAL: "1 minute", GATEWAY_HEALTH_TIMEOUT: "2 minutes" })
      )
      yield* waiting.line(/waiting up to/)
      yield* Scope.close(owner, Exit.void)
      yield* Gateways.within("20 seconds", waiting.listening)
    }))
})

describe("a gateway that cannot notify systemd", () => {
  it.scopedLive("says so once, and serves", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const gateway = yield* Gateways.startListening(
        site,
        under("systemd", { NOTIFY_SOCKET: "/nonexistent/notify", PATH: "/nonexistent" })
      )
      yield* gateway.line(/cannot notify systemd/)
      const ended = yield* Gateways.stop(gateway)
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.strictEqual(Gateways.count(ended.stderr, /cannot notify systemd/g), 1)
    }))
})

describe("--ensure", () => {
  it.scopedLive("exits 0 where this very gateway runs healthy, and says where", () =>
    Effect.gen(function*() {
      const [site, first] = yield* Gateways.newGateway()
      const second = yield* Gateways.run(site, { flags: ["--ensure"] })
      assert.strictEqual(second.code, 0)
      assert.strictEqual(second.stdout, `gateway already running on ${Gateways.url(site)} (pid ${first.pid})\n`)
    }))

  it.scopedLive("starts where nothing runs", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway({ flags: ["--ensure"] })
      assert.isTrue((yield* Clients.instanceIdOf(site)).length > 0)
    }))

  it.scopedLive("is not satisfied by another gateway on the port", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const other = { ...(yield* Gateways.newSite), port: site.port }
      yield* Gateways.startListening(site)
      const second = yield* Gateways.run(other, { flags: ["--ensure"] })
      Gateways.assertRefused(second, `another gateway instance is already listening on ${Gateways.url(site)}`)
    }))
})

describe("--standby", () => {
  const standby = (site: Gateways.Site) =>
    Effect.tap(Gateways.start(site, { flags: ["--standby"] }), (running) => running.line(/standing by: pid \d+ has/))

  it.scopedLive("takes over from an owner that is killed or stopped; of several, one does and the others wait on", () =>
    Effect.gen(function*() {
      const [site, first] = yield* Gateways.newGateway()
      const waiting = yield* Effect.all([standby(site), standby(site), standby(site)], { concurrency: "unbounded" })
      let owner: Processes.Running = first
      let left: ReadonlyArray<Processes.Running> = waiting
      for (const signal of ["SIGKILL", "SIGTERM"] as const) {
        yield* owner.signal(signal)
        yield* owner.ended
        const next = yield* Gateways.within(
          "10 seconds",
          Effect.raceAll(left.map((one) => Effect.as(one.listening, one)))
        )
        left = left.filter((one) => one !== next)
        for (const other of left) {
          yield* other.line(new RegExp(`standing by: pid ${next.pid} `))
          assert.notInclude(yield* other.stderr, "gateway listening on")
        }
        assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).pid, next.pid)
        owner = next
      }
    }))

  it.scopedLive("ends at once on SIGTERM, and leaves the owner alone", () =>
    Effect.gen(function*() {
      const [site, first] = yield* Gateways.newGateway()
      const before = yield* Gateways.identityOf(Gateways.configLock(site))
      const waiting = yield* standby(site)
      yield* Gateways.within("20 seconds", Gateways.stop(waiting))
      assert.deepStrictEqual(yield* Gateways.identityOf(Gateways.configLock(site)), before)
      assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).pid, first.pid)
    }))

  it.scopedLive("starts where nothing runs", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway({ flags: ["--standby"] })
      assert.notStrictEqual(yield* Clients.instanceIdOf(site), "")
    }))
})

/**
 * launchd.plist(5): with `KeepAlive` = `{SuccessfulExit = false}` "the job will be restarted as long as it does not exit
 * successfully". launchd restarts a job at most once per `ThrottleInterval` (10 seconds; the tests use a shorter time).
 */
describe("an emulated launchd", () => {
  const keepAlive = ({ code }: Processes.Ended) => code !== 0

  it.scopedLive("does not relaunch a duplicate", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      assert.deepStrictEqual(yield* relaunched(site, under("launchd"), keepAlive, "50 millis", 5), [0])
    }))

  it.scopedLive("relaunches one that could not start because of a wedged owner, until it is healthy or gone", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Strangers.stalling(site)
      const quick = { GATEWAY_HEALTH_TIMEOUT: "200 millis", GATEWAY_HEALTH_RETRY_INTERVAL: "50 millis" }
      assert.deepStrictEqual(yield* relaunched(site, under("launchd", quick), keepAlive, "50 millis", 2), [1, 1])
    }))
})

/**
 * Task Scheduler: with `MultipleInstancesPolicy` = `IgnoreNew` it "does not start a new instance if an instance of the task is
 * already running". With `RestartOnFailure` it restarts a task whose result is not 0, at most `Count` times.
 */
describe("an emulated Task Scheduler", () => {
  const restartOnFailure = ({ code }: Processes.Ended) => code !== 0

  it.scopedLive("does not restart a duplicate", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      assert.deepStrictEqual(yield* relaunched(site, under("schtasks"), restartOnFailure, "50 millis", 5), [0])
    }))

  it.scopedLive("ignores a run request while its instance runs", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const instances = new Set<number>()
      const requested: Effect.Effect<void, never, Scope.Scope> = Effect.suspend(() =>
        instances.size > 0
          ? Effect.void
          : Effect.map(Gateways.startListening(site, under("schtasks")), ({ pid }) => {
            instances.add(pid)
          })
      )
      yield* requested
      yield* requested
      assert.strictEqual(instances.size, 1)
      assert.isTrue(instances.has((yield* Gateways.readRecord(Gateways.configLock(site))).pid))
    }))
})
