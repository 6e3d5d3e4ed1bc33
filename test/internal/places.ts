/**
 * Lists every place in `src` that starts a program. The list is in a separate module, because a test loads this module a second
 * time, from sources with a deliberate mistake (a mutant).
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import { Duration, Effect } from "effect"
import * as Path from "node:path"
import { checkUnits } from "../../src/doctor/UnitAudit.ts"
import * as PortOwners from "../../src/host/PortOwners.ts"
import * as ProcessTable from "../../src/host/ProcessTable.ts"
import * as Signals from "../../src/host/Signals.ts"
import * as SystemServices from "../../src/inspect/SystemServices.ts"
import * as ServiceManager from "../../src/supervisor/ServiceManager.ts"
import { managers } from "../../src/supervisor/ServiceOptions.ts"
import * as Supervisor from "../../src/supervisor/Supervisor.ts"
import * as SystemdNotify from "../../src/supervisor/SystemdNotify.ts"
import * as Programs from "../fixtures/programs.ts"

export type Needs = CommandExecutor.CommandExecutor | FileSystem.FileSystem

/** A file system in which every path exists, and `/proc/self/cgroup` says that this process belongs to a systemd service. */
export const files = FileSystem.makeNoop({
  exists: () => Effect.succeed(true),
  access: () => Effect.void,
  makeDirectory: () => Effect.void,
  readFileString: (path) => Effect.succeed(path === "/proc/self/cgroup" ? "0::/gateway-default.service\n" : "")
})

const handle: ProcessTable.ProcessHandle = { pid: 1, platform: "darwin", startedAt: 1000, kill: () => true }
const recorded = { pid: 2, startTime: 1000 }
const facts = { platform: "linux" as const, pid: 1, parentPid: 2 }
const serviceIn = (folder: string): ServiceManager.ServiceManagerOptions["service"] => ({
  profile: "default",
  scope: "user",
  execPath: "/usr/bin/node",
  scriptPath: "/main.js",
  args: new Map(),
  stateDir: Path.join(folder, "state"),
  drainTimeout: Duration.seconds(1),
  health: { timeout: Duration.seconds(1), retryInterval: Duration.seconds(1) },
  user: undefined
})

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

export const unitNeeds = {
  drainTimeout: Duration.seconds(1),
  releaseTimeout: Duration.zero,
  health: { timeout: Duration.seconds(1) },
  install: () => ""
}

/** One effect for each place in `src` that starts a program. `ServiceManager.install` writes real files, below `folder`. */
export const places = (folder: string): Readonly<Record<string, Effect.Effect<unknown, unknown, Needs>>> => ({
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
  "Supervisor on macOS": Effect.provide(
    Supervisor.make("auto", { ...facts, platform: "darwin", parentPid: 1 }),
    ProcessTable.layerPs(handle)
  ),
  SystemdNotify: notify,
  "SystemServices.running": SystemServices.running,
  "UnitAudit.checkUnits": checkUnits("gateway-default.service", unitNeeds),
  ...Object.fromEntries(managers.flatMap((manager) => {
    const options = { manager, service: serviceIn(folder), folders: { home: folder }, report: () => Effect.void }
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
})
