/**
 * What becomes of a program whose start throws, which does not end, or which cannot be ended by SIGTERM, at each place that
 * starts one.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Cause, ConfigProvider, Duration, Effect, Exit, Fiber, TestClock } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import * as Path from "node:path"
import { checkUnits } from "../../src/doctor/UnitAudit.ts"
import * as PortOwners from "../../src/inspect/PortOwners.ts"
import * as SystemServices from "../../src/inspect/SystemServices.ts"
import * as ProcessTable from "../../src/lock/ProcessTable.ts"
import * as Signals from "../../src/stop/Signals.ts"
import { managers } from "../../src/supervisor/ServiceDefinition.ts"
import * as ServiceManager from "../../src/supervisor/ServiceManager.ts"
import * as Supervisor from "../../src/supervisor/Supervisor.ts"
import * as SystemdNotify from "../../src/supervisor/SystemdNotify.ts"
import * as Programs from "../fixtures/programs.ts"

type Needs = CommandExecutor.CommandExecutor | FileSystem.FileSystem

/** A machine that systemd runs, and this process in a service of it. */
const files = FileSystem.makeNoop({
  exists: () => Effect.succeed(true),
  access: () => Effect.void,
  makeDirectory: () => Effect.void,
  readFileString: (path) => Effect.succeed(path === "/proc/self/cgroup" ? "0::/gateway-default.service\n" : "")
})

const handle: ProcessTable.ProcessHandle = { pid: 1, platform: "darwin", startedAt: 1000, kill: () => true }
const recorded = { pid: 2, startTime: 1000 }
const facts = { platform: "linux", pid: 1, parentPid: 2 }
/** Where service managers' definitions go, in real files. */
const folder = mkdtempSync(Path.join(tmpdir(), "gateway-lock-spawn-"))
afterAll(() => rmSync(folder, { recursive: true }))

const service: ServiceManager.ServiceManagerOptions["service"] = {
  profile: "default",
  scope: "user",
  execPath: "/usr/bin/node",
  scriptPath: "/main.js",
  args: new Map(),
  stateDir: Path.join(folder, "state"),
  drainTimeout: Duration.seconds(1),
  healthTimeout: Duration.seconds(1),
  healthRetryInterval: Duration.seconds(1),
  user: undefined
}

const inTable = <A, E>(
  layer: typeof ProcessTable.layerPs,
  use: (table: ProcessTable.ProcessTable["Type"]) => Effect.Effect<A, E>
): Effect.Effect<A, E, CommandExecutor.CommandExecutor> =>
  Effect.provide(Effect.flatMap(ProcessTable.ProcessTable, use), layer(handle))

const listeners = Effect.flatMap(PortOwners.PortOwners, ({ listeners }) => listeners(1))

const notify = Effect.flatMap(
  Effect.provideService(SystemdNotify.make(1), Supervisor.Supervisor, { kind: "systemd", reason: "for a test" }),
  ({ notify }) => notify("WATCHDOG=1")
)

const unitNeeds = { drainTimeout: Duration.seconds(1), healthTimeout: Duration.seconds(1), install: () => "" }

/** Each place that starts a program, and the programs that it starts. */
const places: Readonly<Record<string, Effect.Effect<unknown, unknown, Needs>>> = {
  "ProcessTable.liveness by ps": inTable(ProcessTable.layerPs, ({ liveness }) => liveness(recorded)),
  "ProcessTable.commandName by ps": inTable(ProcessTable.layerPs, ({ commandName }) => commandName(2)),
  "ProcessTable.liveness by PowerShell": inTable(ProcessTable.layerCim, ({ liveness }) => liveness(recorded)),
  "ProcessTable.commandName by PowerShell": inTable(ProcessTable.layerCim, ({ commandName }) => commandName(2)),
  "PortOwners by lsof": Effect.provide(listeners, PortOwners.layerLsof),
  "PortOwners by netstat": Effect.provide(listeners, PortOwners.layerNetstat),
  "Signals.ancestors": Effect.flatMap(
    Signals.make({ platform: "darwin", parentPid: 2, kill: () => true, readFile: () => "" }),
    ({ ancestors }) => ancestors
  ),
  "Supervisor on Linux": Effect.provide(Supervisor.make("auto", facts), ProcessTable.layerPs(handle)),
  "Supervisor on Windows": Effect.provide(
    Supervisor.make("auto", { ...facts, platform: "win32" }),
    ProcessTable.layerCim(handle)
  ),
  "Supervisor on macOS": Effect.provide(
    Supervisor.make("auto", { ...facts, platform: "darwin", parentPid: 1 }),
    ProcessTable.layerPs(handle)
  ),
  SystemdNotify: notify,
  "SystemServices.running": SystemServices.running,
  "UnitAudit.checkUnits": checkUnits("gateway-default.service", unitNeeds),
  ...Object.fromEntries(managers.flatMap((manager) => {
    const options = { manager, service, folders: { home: folder }, report: () => Effect.void }
    const installed = Effect.provideService(
      ServiceManager.install(options),
      CommandExecutor.CommandExecutor,
      Programs.make(() => ({})).executor
    )
    return [
      [`ServiceManager.install by ${manager}`, Effect.provide(ServiceManager.install(options), NodeFileSystem.layer)],
      [
        `ServiceManager.uninstall by ${manager}`,
        Effect.provide(Effect.zipRight(installed, ServiceManager.uninstall(options)), NodeFileSystem.layer)
      ]
    ]
  }))
}

const environment = ConfigProvider.fromMap(
  new Map([["NOTIFY_SOCKET", "/run/systemd/notify"], ["XPC_SERVICE_NAME", "dev.gateway-lock.default"]])
)

const at = <A, E>(place: Effect.Effect<A, E, Needs>, { executor }: Programs.Programs): Effect.Effect<A, E> =>
  place.pipe(
    Effect.provideService(CommandExecutor.CommandExecutor, executor),
    Effect.provideService(FileSystem.FileSystem, files),
    Effect.withConfigProvider(environment)
  )

describe("a program whose start throws is as good as missing:", () => {
  it.effect.each(Object.entries(places))("%s", ([name, place]) =>
    Effect.gen(function*() {
      const missing = Programs.make(() => ({ isMissing: true }))
      const without = yield* Effect.exit(at(place, missing))
      assert.isNotEmpty(missing.started, "it starts no program")
      // Its real files take their time.
      const some = name.startsWith("ServiceManager") ? ["ENOMEM", "UNKNOWN", "ERR_INVALID_ARG_VALUE"] : undefined
      for (const [code, error] of Programs.thrown.filter(([code]) => some?.includes(code) ?? true)) {
        const exit = yield* Effect.exit(at(place, Programs.make(() => ({ throws: error }))))
        assert.strictEqual(exit._tag, without._tag, `${name}: ${code}`)
        if (Exit.isFailure(exit)) {
          assert.isFalse(Cause.isDie(exit.cause), `${name}: ${code}: ${Cause.pretty(exit.cause)}`)
          assert.include(Cause.pretty(exit.cause), error.message.split(" ", 2).join(" "), `${name}: ${code}`)
        } else if (Exit.isSuccess(without)) {
          assert.deepEqual(exit.value, without.value, code)
        }
      }
    }))

  it.effect("systemd-notify, which doctor asks for its version", () =>
    Effect.gen(function*() {
      const stdout = "LoadState=loaded\nActiveState=active\nType=notify\n"
      const findings = (notify: Programs.Behaviour) =>
        at(
          checkUnits("gateway-default.service", unitNeeds),
          Programs.make((program) => program === "systemctl" ? { stdout } : notify)
        )
      const without = yield* findings({ isMissing: true })
      for (const [code, error] of Programs.thrown) {
        assert.deepEqual(yield* findings({ throws: error }), without, code)
      }
    }))

  it.effect("a defect of another kind stays one", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(
        at(listenersByLsof, Programs.make(() => ({ throws: new TypeError("undefined is not a function") })))
      )
      assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Die")
    }))
})

const listenersByLsof = Effect.provide(listeners, PortOwners.layerLsof)

describe("a program that does not end is left after its time, and killed:", () => {
  // What a service manager does goes through real files, for which the test's clock does not wait.
  it.effect.each(Object.entries(places).filter(([name]) => !name.startsWith("ServiceManager")))(
    "%s",
    ([name, place]) =>
      Effect.gen(function*() {
        const hanging = Programs.make(() => ({ lasts: "1 day", ignoresSigterm: true }))
        const looking = yield* Effect.fork(Effect.exit(at(Effect.uninterruptible(place), hanging)))
        // As many programs as a place starts, one after the other.
        yield* TestClock.adjust("1 minute")
        const exit = yield* Fiber.join(looking)
        assert.isTrue(Exit.isSuccess(exit) || Cause.isFailType(exit.cause), name)
        assert.isNotEmpty(hanging.started)
        for (const { hasEnded, program, signals } of hanging.started) {
          assert.deepStrictEqual([hasEnded, signals], [true, ["SIGKILL"]], program)
        }
      })
  )
})
