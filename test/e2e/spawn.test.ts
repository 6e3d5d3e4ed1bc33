/**
 * Tests a machine on which the gateway cannot start any other program: every `spawn` call of the gateway throws.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { fileURLToPath } from "node:url"
import * as Gateways from "./support/gateways.ts"
import * as NotifySocket from "./support/notifySocket.ts"
import * as Program from "./support/program.ts"

const preload = fileURLToPath(new URL("../fixtures/throwingSpawn.cjs", import.meta.url))
const skipped = Program.isLinux ? undefined : "needs Linux, which limits the length of a variable"
const test = it.scopedLive.skipIf(skipped !== undefined)
const throwing = { NODE_OPTIONS: `--require=${preload}` }

describe("where every spawn throws", () => {
  test(
    Program.named("a gateway under systemd serves, says that it cannot notify it, and ends in order", skipped),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const env = {
          ...throwing,
          NOTIFY_SOCKET: "/nonexistent/notify",
          WATCHDOG_USEC: "200000",
          GATEWAY_SUPERVISOR: "systemd"
        }
        const gateway = yield* Gateways.startListening(site, { env })
        yield* gateway.line(/cannot notify systemd: systemd-notify: spawn E2BIG/)
        const refused = yield* Gateways.run(site, { env })
        assert.strictEqual(refused.code, 78, refused.stderr)
        const ended = yield* Gateways.stop(gateway)
        assert.strictEqual(ended.code, 0, ended.stderr)
        yield* Gateways.assertGone(site, ended)
        assert.strictEqual(Gateways.count(ended.stderr, /cannot notify systemd/g), 1)
      })
  )

  test(Program.named("a start that asks systemctl who the service is starts", skipped), () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const env = { ...throwing, NOTIFY_SOCKET: "/nonexistent/notify" }
      const ended = yield* Gateways.stop(yield* Gateways.startListening(site, { env }))
      assert.strictEqual(ended.code, 0, ended.stderr)
    }))

  for (
    const [command, status] of [["doctor", 0], ["status", 0], ["list", 0], ["stop", 0], ["service install", 1]] as const
  ) {
    test(Program.named(`${command} ends with ${status}, and not as a defect`, skipped), () =>
      Effect.gen(function*() {
        const [site, gateway] = yield* Gateways.newGateway()
        const ended = yield* Gateways.run(site, {
          args: [
            ...command.split(" "),
            "--state-dir",
            site.stateDir,
            ...(command === "list" ? [] : ["--port", String(site.port)]),
            ...(["status", "stop", "doctor"].includes(command) ? ["--config", site.configPath] : [])
          ],
          env: { ...throwing, HOME: site.root }
        })
        assert.strictEqual(ended.code, status, ended.stdout + ended.stderr)
        assert.notInclude(ended.stderr, "    at ")
        yield* Gateways.stop(gateway)
      }))
  }

  it.scopedLive.skipIf(NotifySocket.noNotifySocket !== undefined)(
    Program.named("for a moment, the watchdog is fed again before its time is over", NotifySocket.noNotifySocket),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const manager = yield* NotifySocket.listen("path")
        const env = {
          NODE_OPTIONS: `--require=${preload.replace("throwingSpawn", "spawnThrowsOnce")}`,
          NOTIFY_SOCKET: manager.name,
          WATCHDOG_USEC: "2000000",
          GATEWAY_SUPERVISOR: "systemd"
        }
        const gateway = yield* Gateways.startListening(site, { env })
        // The first attempt to send `WATCHDOG=1` throws. The gateway tries again before systemd's watchdog would expire.
        yield* gateway.line(/cannot notify systemd: systemd-notify: spawn ENOMEM/)
        yield* manager.message(/^WATCHDOG=1$/)
        yield* Gateways.assertGone(site, yield* Gateways.stop(gateway))
      })
  )
})
