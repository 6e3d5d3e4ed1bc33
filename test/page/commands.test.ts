import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect } from "effect"
import * as PlatformFolders from "../../src/host/PlatformFolders.ts"
import { forGateway, gateway, type Supervised } from "../../src/page/commands.ts"

const environment = new Map([
  ["HOME", "/home/me"],
  ["APPDATA", "C:\\Users\\me\\AppData"],
  ["LOCALAPPDATA", "C:\\Users\\me\\Local"]
])

/** A host of this platform, where the user `me` has the usual folders. */
const host = (platform: string) =>
  Effect.map(PlatformFolders.PlatformFolders, (folders) => ({ platform, folders })).pipe(
    Effect.provide(PlatformFolders.layer(platform)),
    Effect.withConfigProvider(ConfigProvider.fromMap(environment))
  )

const blue: Supervised = {
  configPath: "/home/me/.config/gateway-lock/blue/gateway.json",
  stateDir: "/home/me/.local/state/gateway-lock/blue",
  host: "127.0.0.1",
  port: 18790,
  profile: "blue",
  supervisor: "none",
  unit: undefined
}

describe("a command for a gateway", () => {
  it.effect("names it by its profile and port, or by nothing where that is the default", () =>
    Effect.gen(function*() {
      const linux = yield* host("linux")
      assert.strictEqual(gateway("status", blue, linux), "gateway status --profile blue --port 18790")
      const standard = {
        configPath: "/home/me/.config/gateway-lock/default/gateway.json",
        stateDir: "/home/me/.local/state/gateway-lock/default",
        host: "127.0.0.1",
        port: 18789
      }
      assert.strictEqual(gateway("stop", standard, linux), "gateway stop")
      assert.strictEqual(gateway("stop", { ...standard, host: "", port: 0 }, linux), "gateway stop")
    }))

  it.effect("names it by its paths if they are of no profile, quoted for a shell", () =>
    Effect.gen(function*() {
      const linux = yield* host("linux")
      const odd = { ...blue, configPath: "/srv/it's/a b.json", host: "::1" }
      assert.strictEqual(
        gateway("doctor", odd, linux),
        "gateway doctor --config '/srv/it'\\''s/a b.json' --state-dir /home/me/.local/state/gateway-lock/blue --port 18790 --host ::1"
      )
      assert.strictEqual(
        gateway("status", { ...odd, configPath: undefined, stateDir: "/srv/$(x)" }, linux),
        "gateway status --state-dir '/srv/$(x)' --port 18790 --host ::1"
      )
    }))
})

describe("the commands for this gateway", () => {
  const purposes = (target: Supervised, platform: string) =>
    Effect.map(
      host(platform),
      (around) => Object.fromEntries(forGateway(target, around).map(({ command, purpose }) => [purpose, command]))
    )

  it.effect("are those of systemd for its unit", () =>
    Effect.gen(function*() {
      const unit = { name: "gateway-blue.service", scope: "user" } as const
      assert.deepStrictEqual(yield* purposes({ ...blue, supervisor: "systemd", unit }, "linux"), {
        restart: "systemctl --user restart gateway-blue.service",
        stop: "systemctl --user stop gateway-blue.service",
        logs: "journalctl -e --user-unit gateway-blue.service",
        status: "gateway status --profile blue --port 18790",
        check: "gateway doctor --profile blue --port 18790"
      })
    }))

  it.effect("are those of launchd, and of the Task Scheduler", () =>
    Effect.gen(function*() {
      const mac = yield* purposes({ ...blue, supervisor: "launchd", stateDir: "/Users/me/s p" }, "darwin")
      assert.strictEqual(mac["logs"], "tail -n 100 '/Users/me/s p/launchd.stderr.log'")
      assert.match(mac["restart"] ?? "", /^launchctl kickstart -k gui\/\$\(id -u\)\/dev\.gateway-lock\.blue/)
      const windows = yield* purposes({ ...blue, supervisor: "schtasks" }, "win32")
      assert.strictEqual(
        windows["restart"],
        "schtasks /End /TN \\gateway-lock\\blue; schtasks /Run /TN \\gateway-lock\\blue"
      )
      assert.isUndefined(windows["logs"])
    }))

  it.effect("are those of gateway without a supervisor, or without its unit", () =>
    Effect.gen(function*() {
      for (const supervisor of ["none", "external", "systemd"] as const) {
        const known = yield* purposes({ ...blue, supervisor }, "linux")
        assert.deepStrictEqual(Object.keys(known), ["stop", "status", "check"])
      }
    }))
})
