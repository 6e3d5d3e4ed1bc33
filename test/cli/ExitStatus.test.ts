import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Exit, FastCheck as fc, FiberId } from "effect"
import { commands, UsageError } from "../../src/cli/CommandLine.ts"
import { Answered, ExitStatus, fromExit, ofEvery } from "../../src/cli/ExitStatus.ts"
import * as Errors from "../../src/GatewayLockError.ts"
import { ConfigFileInvalid, SettingInvalid } from "../../src/settings/GatewayConfig.ts"
import * as arbitraries from "../arbitraries.ts"

const interrupted = Cause.interrupt(FiberId.none)
const bug = Cause.die(new Error("a bug"))
const portInUse = new Errors.PortInUse({ host: "127.0.0.1", port: 1 })
const ownerHealthy = (supervisor: Errors.SupervisorKind) =>
  new Errors.OwnerHealthy({ supervisor, host: "127.0.0.1", port: 1 })
const ownerUnhealthy = (supervisor: Errors.SupervisorKind) =>
  new Errors.OwnerUnhealthy({ supervisor, host: "127.0.0.1", port: 1, timeout: Duration.millis(1) })

const table: ReadonlyArray<readonly [when: string, status: number, exit: Exit.Exit<unknown, unknown>]> = [
  ["success", 0, Exit.void],
  ["status of one that is not running", 3, Exit.succeed(new Answered({ status: 3 }))],
  ["status of one that starts", 4, Exit.succeed(new Answered({ status: 4 }))],
  ["SIGTERM or SIGINT, which interrupt", 0, Exit.failCause(interrupted)],
  ["interrupted twice", 0, Exit.failCause(Cause.parallel(interrupted, interrupted))],
  ["OwnerHealthy under launchd", 0, Exit.fail(ownerHealthy("launchd"))],
  ["OwnerHealthy under schtasks", 0, Exit.fail(ownerHealthy("schtasks"))],
  ["OwnerHealthy under an external supervisor", 0, Exit.fail(ownerHealthy("external"))],
  ["OwnerHealthy under systemd", 78, Exit.fail(ownerHealthy("systemd"))],
  ["OwnerUnhealthy under systemd", 1, Exit.fail(ownerUnhealthy("systemd"))],
  ["OwnerUnhealthy under launchd", 1, Exit.fail(ownerUnhealthy("launchd"))],
  ["PortInUse", 1, Exit.fail(portInUse)],
  ["BindFailed", 1, Exit.fail(new Errors.BindFailed({ host: "::1", port: 1, reason: "EACCES" }))],
  ["LockHeld", 1, Exit.fail(new Errors.LockHeld({ path: "/l", timeout: Duration.millis(1) }))],
  ["LockUnavailable", 1, Exit.fail(new Errors.LockUnavailable({ path: "/l", reason: "EROFS" }))],
  ["LockLost", 1, Exit.fail(new Errors.LockLost({ path: "/l", reason: "removed" }))],
  ["a failure while being interrupted", 1, Exit.failCause(Cause.parallel(interrupted, Cause.fail(portInUse)))],
  ["a wrong flag", 64, Exit.fail(new UsageError({ reason: "unknown flag" }))],
  [
    "a wrong value",
    64,
    Exit.fail(new SettingInvalid({ setting: "port", source: "--port", value: "0", allowed: "more" }))
  ],
  ["a wrong config file", 64, Exit.fail(new ConfigFileInvalid({ path: "/c", reason: "not JSON" }))],
  ["a defect", 70, Exit.failCause(bug)],
  ["a failure and a defect after it", 70, Exit.failCause(Cause.sequential(Cause.fail(portInUse), bug))],
  ["a defect and a failure beside it", 70, Exit.failCause(Cause.parallel(bug, Cause.fail(portInUse)))],
  ["a defect while shutting down", 70, Exit.failCause(Cause.sequential(interrupted, bug))],
  [
    "a defect beside a gateway left in control",
    70,
    Exit.failCause(Cause.sequential(Cause.fail(ownerHealthy("systemd")), bug))
  ],
  ["a GatewayLockError that was thrown", 70, Exit.die(portInUse)]
]

describe("ExitStatus.fromExit", () => {
  it.each(table)("%s: %i", (_, status, exit) => {
    assert.strictEqual(fromExit(exit), status)
  })

  it.prop("a failure of the family ends with 0, 1 or 78, and 78 only under systemd", [arbitraries.gatewayLockError], ([
    error
  ]) => {
    const healthy = error._tag === "OwnerHealthy" ? error.supervisor : undefined
    return fromExit(Exit.fail(error)) === (healthy === undefined ? 1 : healthy === "systemd" ? 78 : 0)
  })

  it.prop(
    "a defect anywhere is a defect",
    [arbitraries.gatewayLockError, fc.boolean()],
    ([error, first]) =>
      fromExit(
        Exit.failCause(first ? Cause.parallel(bug, Cause.fail(error)) : Cause.sequential(Cause.fail(error), bug))
      )
        === 70
  )

  it("--help tells of every status there is, and of no other", () => {
    const told = new Set(
      [...Object.values(commands).flatMap(({ exits }) => exits), ...ofEvery].map(([status]) => status)
    )
    assert.sameMembers([...told], [...new Set(Object.values(ExitStatus))])
    assert.includeMembers([...told], table.map(([, status]) => status))
  })
})
