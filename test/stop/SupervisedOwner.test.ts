import { assert, describe, it } from "@effect/vitest"
import { Option } from "effect"
import type { ServiceUnit, SupervisorKind } from "../../src/GatewayLockError.ts"
import * as SupervisedOwner from "../../src/stop/SupervisedOwner.ts"

describe("SupervisedOwner.stopCommand", () => {
  const unit = (name: string, scope: "system" | "user") => Option.some({ name, scope })

  it.each<readonly [SupervisorKind, Option.Option<ServiceUnit>, string | undefined]>([
    ["systemd", unit("gw.service", "system"), "systemctl stop gw.service"],
    ["systemd", unit("gw.service", "user"), "systemctl --user stop gw.service"],
    ["systemd", Option.none(), "systemctl --user stop gateway-blue.service"],
    [
      "launchd",
      Option.none(),
      "launchctl bootout gui/$(id -u)/dev.gateway-lock.blue || sudo launchctl bootout system/dev.gateway-lock.blue"
    ],
    ["schtasks", Option.none(), "schtasks /End /TN \\gateway-lock\\blue"],
    ["none", Option.none(), undefined],
    ["external", Option.none(), undefined]
  ])("%s", (supervisor, unit, command) => {
    assert.strictEqual(Option.getOrUndefined(SupervisedOwner.stopCommand(supervisor, "blue", unit)), command)
  })
})
