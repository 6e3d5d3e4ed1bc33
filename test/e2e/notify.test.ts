/**
 * Tests the messages that a gateway sends to its service manager over `NOTIFY_SOCKET`, and the environment of the gateway's own
 * child processes.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Execs from "./support/execs.ts"
import * as FakeTools from "./support/fakeTools.ts"
import * as Gateways from "./support/gateways.ts"
import * as NotifySocket from "./support/notifySocket.ts"
import * as Program from "./support/program.ts"

const notLinux = Program.isLinux ? undefined : "needs Linux"
const skipped = NotifySocket.noNotifySocket

/** Runs a test twice: with a notification socket at a path, and with one in the abstract namespace (unix(7)). */
const eachKind = (name: string, test: (kind: "path" | "abstract") => Effect.Effect<void, never, Scope.Scope>) => {
  for (const kind of ["path", "abstract"] as const) {
    it.scopedLive.skipIf(skipped !== undefined)(Program.named(`${name} (${kind})`, skipped), () => test(kind))
  }
}

describe("the notification socket", () => {
  eachKind("of another service, inherited by a shell in it, hears nothing", (kind) =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const manager = yield* NotifySocket.listen(kind)
      // SYSTEMD_EXEC_PID names the main process of a service. Here it names a process that is not the gateway, as if the gateway
      // ran in a shell of another service.
      const env = {
        NOTIFY_SOCKET: manager.name,
        NOTIFY_ACCESS: "all",
        SYSTEMD_EXEC_PID: String(manager.pid),
        INVOCATION_ID: "0123456789abcdef0123456789abcdef",
        WATCHDOG_USEC: "200000"
      }
      const gateway = yield* Gateways.startListening(site, { env })
      // A second start with the same environment is refused. It does not notify the service manager either.
      Gateways.assertRefused(
        yield* Gateways.run(site, { env: { ...env, GATEWAY_LOG_LEVEL: "error" } }),
        `another gateway instance is already listening on ${Gateways.url(site)}`
      )
      const ended = yield* Gateways.stop(gateway)
      yield* Gateways.assertGone(site, ended)
      assert.deepStrictEqual(yield* manager.heard, [])
      assert.match(
        ended.stderr,
        new RegExp(
          `level=INFO .*systemd is not notified: SYSTEMD_EXEC_PID is ${manager.pid}, not this process .pid ${gateway.pid}..*`
            + "--supervisor systemd"
        )
      )
    }))

  eachKind("hears nothing under any other supervisor", (kind) =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const manager = yield* NotifySocket.listen(kind)
      for (const supervisor of ["none", "external", "launchd", "schtasks"]) {
        const env = { NOTIFY_SOCKET: manager.name, GATEWAY_SUPERVISOR: supervisor }
        yield* Gateways.assertGone(site, yield* Gateways.stop(yield* Gateways.startListening(site, { env })))
      }
      assert.deepStrictEqual(yield* manager.heard, [])
    }))

  eachKind("of one's own service hears of the start, the watchdog and the stop", (kind) =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const manager = yield* NotifySocket.listen(kind)
      const env = { NOTIFY_SOCKET: manager.name, WATCHDOG_USEC: "200000", GATEWAY_SUPERVISOR: "systemd" }
      const gateway = yield* Gateways.startListening(site, { env })
      yield* manager.message(/^READY=1/)
      yield* manager.message(/^WATCHDOG=1$/)
      // The second start is refused. It reports the refusal to its own notification socket, `second`. It sends nothing to `manager`,
      // the notification socket of the first gateway.
      const second = yield* NotifySocket.listen(kind)
      const refused = yield* Gateways.run(site, { env: { ...env, NOTIFY_SOCKET: second.name } })
      assert.strictEqual(refused.code, 78, refused.stderr)
      yield* Gateways.assertGone(site, yield* Gateways.stop(gateway))
      const heard = yield* manager.heard
      assert.strictEqual(heard[0], `READY=1 STATUS=listening on ${Gateways.url(site)}`)
      assert.match(heard.at(-2) ?? "", /^STOPPING=1 STATUS=draining \(stopped\) EXTEND_TIMEOUT_USEC=\d+$/)
      assert.strictEqual(heard.at(-1), "STATUS=stopped")
      assert.match((yield* second.heard).join("\n"), /^STATUS=ended: gateway already running under systemd; .*$/)
    }))

  eachKind(
    "of a service of exec hears when the command starts, when it listens, and when it is late",
    (kind) =>
      Effect.gen(function*() {
        const heardOf = (behaviors: ReadonlyArray<string>, end: RegExp) =>
          Effect.gen(function*() {
            const site = yield* Gateways.newSite
            const manager = yield* NotifySocket.listen(kind)
            const env = { NOTIFY_SOCKET: manager.name, GATEWAY_SUPERVISOR: "systemd" }
            const flags = ["--start-timeout", behaviors.length === 0 ? "200ms" : "1m", "--stop-timeout", "5s"]
            const { wrapper } = yield* Execs.startChild(site, behaviors, { env, flags })
            yield* manager.message(end)
            yield* wrapper.signal("SIGUSR1")
            yield* Gateways.assertGone(site, yield* wrapper.ended)
            return { heard: yield* manager.heard, site }
          })
        const name = process.execPath
        const ready = yield* heardOf(["listen"], /^READY=1/)
        assert.deepStrictEqual(ready.heard, [
          // 60 s for the start, 5 s for a stop, and a margin of 30 s.
          `STATUS=starting ${name} EXTEND_TIMEOUT_USEC=95000000`,
          `READY=1 STATUS=running ${name}, listening on ${Gateways.url(ready.site)}`,
          "STATUS=stopped"
        ])
        const late = yield* heardOf([], /^READY=1/)
        assert.deepStrictEqual(late.heard, [
          `STATUS=starting ${name} EXTEND_TIMEOUT_USEC=35200000`,
          `READY=1 STATUS=running ${name}, which does not listen on port ${late.site.port}`,
          "STATUS=stopped"
        ])
      })
  )
})

describe("the program's children", () => {
  it.scopedLive.skipIf(!Program.isLinux)(
    Program.named("are handed neither the token nor what systemd means for the gateway", notLinux),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const names = ["systemctl", "systemd-notify", "ps", "lsof"]
        const tools = yield* FakeTools.make(names)
        const handed: Readonly<Record<string, string>> = { PATH: tools.path, HOME: site.root, ...FakeTools.handed }
        const env = { ...handed, ...FakeTools.withheld }
        // `env` has no SYSTEMD_EXEC_PID, as under systemd older than 248. So the gateway asks `systemctl` for the main process of the
        // service.
        yield* Gateways.assertGone(site, yield* Gateways.stop(yield* Gateways.startListening(site, { env })))
        const named = { ...env, GATEWAY_SUPERVISOR: "systemd" }
        yield* Gateways.assertGone(site, yield* Gateways.stop(yield* Gateways.startListening(site, { env: named })))
        for (const command of [["status"], ["doctor"], ["list"], ["service", "install"], ["service", "uninstall"]]) {
          yield* Gateways.run(site, { args: [...command, "--state-dir", site.stateDir], env })
        }
        const started = yield* tools.started
        for (const program of ["systemctl", "systemd-notify"]) {
          assert.isTrue(started.some((one) => one.program === program), program)
        }
        assert.isTrue(started.some(({ environment }) => "NOTIFY_SOCKET" in environment))
        for (const { environment, program } of started) {
          const { NOTIFY_SOCKET, ...given } = environment
          if (NOTIFY_SOCKET !== undefined) assert.strictEqual(program, "systemd-notify")
          assert.deepStrictEqual({ ...given }, handed, program)
        }
      })
  )
})
