import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Option } from "effect"
import { passedSocket } from "../../src/supervisor/SocketActivation.ts"
import { detect, type Evidence } from "../../src/supervisor/Supervisor.ts"
import { extendTimeout, watchdogInterval } from "../../src/supervisor/SystemdNotify.ts"

const nothing: Evidence = {
  platform: "linux",
  pid: 100,
  parentPid: 50,
  systemdExecPid: Option.none(),
  notifySocket: Option.none(),
  unitMainPid: Option.none(),
  xpcServiceName: Option.none(),
  parentCommand: Option.none()
}

describe("detect", () => {
  it.each<readonly [what: string, evidence: Partial<Evidence>, kind: string]>([
    ["nothing at all", {}, "none"],
    ["systemd by SYSTEMD_EXEC_PID", { systemdExecPid: Option.some("100") }, "systemd"],
    ["an inherited SYSTEMD_EXEC_PID", { systemdExecPid: Option.some("99") }, "none"],
    [
      "an inherited SYSTEMD_EXEC_PID beside a unit of ours",
      { systemdExecPid: Option.some("99"), notifySocket: Option.some("/run/x"), unitMainPid: Option.some(100) },
      "none"
    ],
    [
      "systemd by NOTIFY_SOCKET and the unit's main process",
      { notifySocket: Option.some("/run/systemd/notify"), unitMainPid: Option.some(100) },
      "systemd"
    ],
    [
      "a child of that unit",
      { notifySocket: Option.some("/run/systemd/notify"), unitMainPid: Option.some(99) },
      "none"
    ],
    ["NOTIFY_SOCKET alone", { notifySocket: Option.some("/run/systemd/notify") }, "none"],
    [
      "launchd",
      { platform: "darwin", parentPid: 1, xpcServiceName: Option.some("dev.gateway-lock.default") },
      "launchd"
    ],
    [
      "a child of a launchd job",
      { platform: "darwin", xpcServiceName: Option.some("dev.gateway-lock.default") },
      "none"
    ],
    ["a terminal on macOS", { platform: "darwin", parentPid: 1, xpcServiceName: Option.some("0") }, "none"],
    ["the Task Scheduler", { platform: "win32", parentCommand: Option.some("svchost.exe") }, "schtasks"],
    ["a shell on Windows", { platform: "win32", parentCommand: Option.some("powershell.exe") }, "none"],
    ["a variable of another platform", { xpcServiceName: Option.some("x"), parentPid: 1 }, "none"]
  ])("%s", (_, evidence, kind) => {
    const verdict = detect({ ...nothing, ...evidence })
    assert.strictEqual(verdict.kind, kind)
    assert.isAbove(verdict.reason.length, 10)
  })
})

describe("systemd's variables", () => {
  it("name a watchdog interval for us, and for nobody else", () => {
    const some = Option.some<string>
    const millis = (...args: Parameters<typeof watchdogInterval>) =>
      Option.map(watchdogInterval(...args), Duration.toMillis)
    assert.deepStrictEqual(millis(some("2000000"), some("7"), 7), Option.some(2000))
    assert.deepStrictEqual(millis(some("2000000"), Option.none(), 7), Option.some(2000))
    assert.deepStrictEqual(millis(some("2000000"), some("8"), 7), Option.none())
    assert.deepStrictEqual(millis(some("soon"), Option.none(), 7), Option.none())
    assert.deepStrictEqual(millis(Option.none(), Option.none(), 7), Option.none())
    assert.strictEqual(extendTimeout(Duration.seconds(3)), "EXTEND_TIMEOUT_USEC=3000000")
  })

  const passed = (variables: Record<string, string>) =>
    Effect.withConfigProvider(passedSocket(7), ConfigProvider.fromMap(new Map(Object.entries(variables))))

  it.effect("pass one socket to us, none to a child, and more than one to nobody", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* passed({ LISTEN_PID: "7", LISTEN_FDS: "1" }), Option.some(3))
      assert.deepStrictEqual(yield* passed({ LISTEN_PID: "6", LISTEN_FDS: "1" }), Option.none())
      assert.deepStrictEqual(yield* passed({ LISTEN_FDS: "1" }), Option.none())
      assert.deepStrictEqual(yield* passed({}), Option.none())
      const error = yield* Effect.flip(passed({ LISTEN_PID: "7", LISTEN_FDS: "2" }))
      assert.strictEqual(error.message, "invalid LISTEN_FDS \"2\": expected 1, one ListenStream= in the socket unit")
    }))
})
