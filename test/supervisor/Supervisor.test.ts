import * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Option } from "effect"
import * as ProcessTable from "../../src/host/ProcessTable.ts"
import { passedSocket } from "../../src/supervisor/SocketActivation.ts"
import { detect, type Evidence, make, parseJobPid } from "../../src/supervisor/Supervisor.ts"
import { extendTimeout, watchdogInterval } from "../../src/supervisor/SystemdNotify.ts"
import * as Programs from "../fixtures/programs.ts"

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
      "launchd, by launchctl",
      {
        platform: "darwin",
        parentPid: 1,
        xpcServiceName: Option.some("dev.gateway-lock.default"),
        jobPid: Option.some(100)
      },
      "launchd"
    ],
    [
      "an orphan of a launchd job's child: its parent is launchd as well",
      {
        platform: "darwin",
        parentPid: 1,
        xpcServiceName: Option.some("dev.gateway-lock.default"),
        jobPid: Option.some(99)
      },
      "none"
    ],
    [
      "an orphan of an application's terminal",
      { platform: "darwin", parentPid: 1, xpcServiceName: Option.some("application.com.microsoft.VSCode.1.2") },
      "none"
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

describe("launchctl", () => {
  const listed = (pid: number) =>
    `{\n\t"LimitLoadToSessionType" = "Aqua";\n\t"LastExitStatus" = 0;\n\t"PID" = ${pid};\n};\n`
  const printed = (pid: number) => `system/dev.x = {\n\tactive count = 1\n\tstate = running\n\tpid = ${pid}\n}\n`

  it("tells the process of a job, in either form", () => {
    assert.deepStrictEqual(parseJobPid(listed(42)), Option.some(42))
    assert.deepStrictEqual(parseJobPid(printed(42)), Option.some(42))
    for (
      const text of ["", "Could not find service \"x\" in domain for system\n", "{\n\t\"LastExitStatus\" = 0;\n};\n"]
    ) {
      assert.isTrue(Option.isNone(parseJobPid(text)), text)
    }
  })

  const asked = (label: string, behave: (words: string) => Programs.Behaviour, parentPid = 1) => {
    const programs = Programs.make((_, args) => behave(args.join(" ")))
    return make("auto", { platform: "darwin", pid: 100, parentPid }).pipe(
      Effect.provide(ProcessTable.layerPs({ pid: 100, platform: "darwin", startedAt: 0, kill: () => true })),
      Effect.provideService(CommandExecutor.CommandExecutor, programs.executor),
      Effect.provideService(FileSystem.FileSystem, FileSystem.makeNoop({})),
      Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["XPC_SERVICE_NAME", label]]))),
      Effect.map(({ kind }) => ({ kind, words: programs.started.map(({ args }) => args.join(" ")) }))
    )
  }

  it.effect("is asked of a job that may be ours, in the caller's domain and the system's", () =>
    Effect.gen(function*() {
      const list = (pid: number) => (words: string) => words === "list dev.x" ? { stdout: listed(pid) } : {}
      const print = (pid: number) => (words: string) => words === "print system/dev.x" ? { stdout: printed(pid) } : {}
      assert.deepStrictEqual(yield* asked("dev.x", list(100)), { kind: "launchd", words: ["list dev.x"] })
      assert.deepStrictEqual(yield* asked("dev.x", list(99)), { kind: "none", words: ["list dev.x"] })
      const both = ["list dev.x", "print system/dev.x"]
      assert.deepStrictEqual(yield* asked("dev.x", print(100)), { kind: "launchd", words: both })
      assert.deepStrictEqual(yield* asked("dev.x", print(99)), { kind: "none", words: both })
      // If launchctl is missing, the gateway assumes that launchd is its supervisor. Without this assumption, a start that finds a
      // healthy owner would end with status 1 instead of 0. If launchd is the supervisor, it would then restart the gateway again
      // and again.
      assert.deepStrictEqual(yield* asked("dev.x", () => ({ isMissing: true })), { kind: "launchd", words: both })
    }))

  it.effect("is not asked where the variable or the parent says it", () =>
    Effect.gen(function*() {
      const none = { kind: "none" as const, words: new Array<string>() }
      assert.deepStrictEqual(yield* asked("dev.x", () => ({}), 7), none)
      assert.deepStrictEqual(yield* asked("0", () => ({})), none)
      assert.deepStrictEqual(yield* asked("application.com.apple.Terminal.1.2", () => ({})), none)
    }))
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
