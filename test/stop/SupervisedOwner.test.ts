import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc, Option } from "effect"
import * as SupervisedOwner from "../../src/stop/SupervisedOwner.ts"

describe("SupervisedOwner.parseUnit", () => {
  it.each([
    ["a unit of the system", "0::/system.slice/gateway-blue.service\n", {
      name: "gateway-blue.service",
      scope: "system"
    }],
    [
      "a unit of a user's manager",
      "0::/user.slice/user-1000.slice/user@1000.service/app.slice/gateway-blue.service\n",
      { name: "gateway-blue.service", scope: "user" }
    ],
    ["an instance of a template", "0::/system.slice/system-gw.slice/gw@blue.service\n", {
      name: "gw@blue.service",
      scope: "system"
    }],
    ["a group of its own below the unit", "0::/system.slice/gw.service/payload\n", {
      name: "gw.service",
      scope: "system"
    }],
    [
      "version 1 of the control groups",
      "11:memory:/system.slice/other.service\n1:name=systemd:/system.slice/gw.service\n",
      { name: "gw.service", scope: "system" }
    ],
    ["a login session", "0::/user.slice/user-1000.slice/session-2.scope\n", undefined],
    ["a user's manager itself", "0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", undefined],
    ["a container", "0::/\n", undefined],
    ["nothing", "", undefined]
  ])("%s", (_, text, unit) => {
    assert.deepStrictEqual(Option.getOrUndefined(SupervisedOwner.parseUnit(text)), unit)
  })

  it.prop(
    "never fails, and names what the text holds",
    [fc.string()],
    ([text]) =>
      Option.match(SupervisedOwner.parseUnit(text), { onNone: () => true, onSome: ({ name }) => text.includes(name) })
  )
})

describe("SupervisedOwner.stopCommand", () => {
  const unit = (name: string, scope: "system" | "user") => Option.some({ name, scope })

  it.each([
    ["systemd", unit("gw.service", "system"), "systemctl stop gw.service"],
    ["systemd", unit("gw.service", "user"), "systemctl --user stop gw.service"],
    ["systemd", Option.none(), "systemctl --user stop gateway-blue.service"],
    ["launchd", Option.none(), "launchctl bootout gui/$(id -u)/dev.gateway-lock.blue"],
    ["schtasks", Option.none(), "schtasks /End /TN \\gateway-lock\\blue"],
    ["none", Option.none(), undefined],
    ["external", Option.none(), undefined],
    ["toString", Option.none(), undefined]
  ])("%s", (supervisor, unit, command) => {
    assert.strictEqual(Option.getOrUndefined(SupervisedOwner.stopCommand(supervisor, "blue", unit)), command)
  })
})
