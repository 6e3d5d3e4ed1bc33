import { assert, describe, it } from "@effect/vitest"
import { Option } from "effect"
import type { ServiceUnit } from "../../src/GatewayLockError.ts"
import { parse } from "../../src/host/ServiceUnit.ts"
import * as ServiceCommands from "../../src/supervisor/ServiceCommands.ts"
import * as arbitraries from "../arbitraries.ts"

const user = "/user.slice/user-1000.slice/user@1000.service"

const table: ReadonlyArray<readonly [cgroup: string, unit: ServiceUnit | undefined]> = [
  ["0::/system.slice/gateway-blue.service\n", { name: "gateway-blue.service", scope: "system" }],
  [`0::${user}/app.slice/gateway-blue.service\n`, { name: "gateway-blue.service", scope: "user" }],
  ["0::/system.slice/gateway-blue.service/workers\n", { name: "gateway-blue.service", scope: "system" }],
  ["0::/system.slice/system-gateway.slice/gateway@a.service\n", { name: "gateway@a.service", scope: "system" }],
  ["12:pids:/x\n1:name=systemd:/system.slice/a.service\n0::/\n", { name: "a.service", scope: "system" }],
  [`0::${user}/init.scope\n`, undefined],
  [`0::${user}\n`, undefined],
  ["0::/user.slice/user-0.slice/session-3.scope\n", undefined],
  ["0::/\n", undefined],
  ["", undefined]
]

describe("ServiceUnit.parse", () => {
  it.each(table)("%j", (cgroup, unit) => {
    assert.deepStrictEqual(Option.getOrUndefined(parse(cgroup)), unit)
  })

  it.prop(
    "of whatever text is a unit or none",
    [arbitraries.text],
    ([text]) =>
      Option.match(parse(`0::/${text}`), { onNone: () => true, onSome: ({ name }) => name.endsWith(".service") })
  )
})

describe("ServiceCommands.make", () => {
  const make = (...[options]: Parameters<typeof ServiceCommands.make>) =>
    Option.getOrUndefined(ServiceCommands.make(options))

  it("is systemctl with the unit that was found, and with none without one", () => {
    assert.deepStrictEqual(make({ supervisor: "systemd", unit: { name: "a.service", scope: "system" } }), {
      status: "systemctl status a.service",
      stop: "systemctl stop a.service",
      restart: "systemctl restart a.service",
      logs: "journalctl -e -u a.service"
    })
    assert.deepStrictEqual(make({ supervisor: "systemd", unit: { name: "a\\x2db.service", scope: "user" } }), {
      status: "systemctl --user status 'a\\x2db.service'",
      stop: "systemctl --user stop 'a\\x2db.service'",
      restart: "systemctl --user restart 'a\\x2db.service'",
      logs: "journalctl -e --user-unit 'a\\x2db.service'"
    })
    assert.isUndefined(make({ supervisor: "systemd", profile: "blue" }))
  })

  it("is launchctl or schtasks with the name that service install gives a profile", () => {
    assert.deepStrictEqual(make({ supervisor: "launchd", profile: "blue" }), {
      status: "launchctl print gui/$(id -u)/dev.gateway-lock.blue || launchctl print system/dev.gateway-lock.blue",
      stop:
        "launchctl bootout gui/$(id -u)/dev.gateway-lock.blue || sudo launchctl bootout system/dev.gateway-lock.blue",
      restart:
        "launchctl kickstart -k gui/$(id -u)/dev.gateway-lock.blue || sudo launchctl kickstart -k system/dev.gateway-lock.blue"
    })
    assert.deepStrictEqual(make({ supervisor: "schtasks", profile: "blue" }), {
      status: "schtasks /Query /V /FO LIST /TN \\gateway-lock\\blue",
      stop: "schtasks /End /TN \\gateway-lock\\blue",
      restart: "schtasks /End /TN \\gateway-lock\\blue; schtasks /Run /TN \\gateway-lock\\blue"
    })
    assert.isUndefined(make({ supervisor: "launchd" }))
  })

  it.each(["none", "external"] as const)("is nothing for %s", (supervisor) => {
    assert.isUndefined(make({ supervisor, profile: "blue" }))
  })
})
