/**
 * Who started us, proved and not guessed.
 *
 * Every descendant of a service inherits its variables (`INVOCATION_ID`, `XPC_SERVICE_NAME`, `NOTIFY_SOCKET`), so none of
 * them alone says that this very process is the service.
 *
 * @since 0.1.0
 */
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { SupervisorKind } from "../GatewayLockError.ts"
import type { ProcessTable } from "../host/ProcessTable.ts"
import { child, output } from "../internal/child.ts"
import { variable } from "../internal/environment.ts"

export { SupervisorKind }

/**
 * Who it is, and how that is known.
 *
 * @since 0.1.0
 * @category models
 */
export interface Verdict {
  readonly kind: SupervisorKind
  /** Why we think so, in words. */
  readonly reason: string
}

/**
 * The supervisor of this process.
 *
 * @since 0.1.0
 * @category tags
 */
export class Supervisor extends Context.Tag("gateway-lock/Supervisor")<Supervisor, Verdict>() {}

/**
 * What the verdict rests on.
 *
 * @internal
 */
export interface Evidence {
  readonly platform: NodeJS.Platform
  readonly pid: number
  readonly parentPid: number
  /** `SYSTEMD_EXEC_PID`: the process that systemd itself started (systemd.exec(5), since 248). */
  readonly systemdExecPid: Option.Option<string>
  /** `NOTIFY_SOCKET` (sd_notify(3)). */
  readonly notifySocket: Option.Option<string>
  /** The main process of the unit whose control group we are in, where systemd was asked. */
  readonly unitMainPid: Option.Option<number>
  /** `XPC_SERVICE_NAME`: the launchd job's label; `0` for what no job started. */
  readonly xpcServiceName: Option.Option<string>
  /** The process of that job, as launchctl(1) has it, where it was asked and answers. */
  readonly jobPid?: Option.Option<number> | undefined
  /** The parent's program, where it can be told. */
  readonly parentCommand: Option.Option<string>
}

const verdict = (kind: SupervisorKind, reason: string): Verdict => ({ kind, reason })

/** launchd gives every process of a login session `0` that is no job's. */
const isLabel = (name: string): boolean => name !== "" && name !== "0"

/** The job that launchd makes of an application that is opened, and that a terminal in it hands on to its shells. */
const isApplication = (label: string): boolean => label.startsWith("application.")

/**
 * The rules, in order; the first that fits decides. Pure.
 *
 * @internal
 */
export const detect = (evidence: Evidence): Verdict => {
  const {
    jobPid = Option.none<number>(),
    notifySocket,
    parentCommand,
    parentPid,
    pid,
    platform,
    systemdExecPid,
    unitMainPid,
    xpcServiceName
  } = evidence
  if (platform === "linux") {
    if (Option.isSome(systemdExecPid)) {
      return systemdExecPid.value === String(pid)
        ? verdict("systemd", `SYSTEMD_EXEC_PID is our pid ${pid}`)
        : verdict("none", `SYSTEMD_EXEC_PID is ${systemdExecPid.value}, not our pid ${pid}: inherited from a service`)
    }
    if (Option.isSome(notifySocket) && Option.isSome(unitMainPid)) {
      return unitMainPid.value === pid
        ? verdict("systemd", `NOTIFY_SOCKET is set and our pid ${pid} is the main process of our unit`)
        : verdict(
          "none",
          `NOTIFY_SOCKET is set, and the main process of our unit is ${unitMainPid.value}, not our pid ${pid}`
        )
    }
  }
  if (platform === "darwin" && Option.exists(xpcServiceName, isLabel)) {
    if (parentPid !== 1) {
      return verdict("none", `XPC_SERVICE_NAME is set, but our parent is pid ${parentPid}: inherited from a job`)
    }
    if (Option.exists(xpcServiceName, isApplication)) {
      return verdict("none", `XPC_SERVICE_NAME is that of an application, which launchd does not restart`)
    }
    // An orphan's parent is launchd as well, whoever started it.
    if (Option.exists(jobPid, (job) => job !== pid)) {
      return verdict(
        "none",
        `XPC_SERVICE_NAME is set, but the job's process is ${Option.getOrElse(jobPid, () => 0)}, not our pid ${pid}`
      )
    }
    return Option.isSome(jobPid)
      ? verdict("launchd", `XPC_SERVICE_NAME is set and our pid ${pid} is the job's process`)
      : verdict("launchd", `XPC_SERVICE_NAME is set and our parent is launchd`)
  }
  if (
    platform === "win32" && Option.exists(parentCommand, (name) => /^(svchost|taskeng|taskhostw)\.exe$/i.test(name))
  ) {
    return verdict("schtasks", `our parent is ${Option.getOrElse(parentCommand, () => "")}, the Task Scheduler`)
  }
  return verdict("none", "no supervisor can be proved")
}

/**
 * What only the process itself can tell.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessFacts {
  /** As `process.platform` has it. */
  readonly platform: NodeJS.Platform
  readonly pid: number
  readonly parentPid: number
}

/** The unit at the end of our control group's path, as in `0::/system.slice/gateway-default.service`. */
const ownUnit = Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString("/proc/self/cgroup")).pipe(
  Effect.map((text) => Option.fromNullable(/([^/\n]+\.(?:service|scope))$/m.exec(text)?.[1])),
  Effect.orElseSucceed(() => Option.none<string>())
)

/** How long a manager may take to answer. */
const askTimeout = Duration.seconds(2)

const mainPidOf = (unit: string, arguments_: ReadonlyArray<string>) =>
  output(child("systemctl", ...arguments_, "show", "--property=MainPID", "--value", unit), askTimeout).pipe(
    Effect.option,
    Effect.map(Option.flatMap((text) => {
      const pid = Number(text.trim())
      return Number.isSafeInteger(pid) && pid > 0 ? Option.some(pid) : Option.none()
    }))
  )

/**
 * The process in what `launchctl list <label>` prints (`"PID" = 123;`) or `launchctl print <target>` (`pid = 123`); `None` for
 * a job without one, and for anything else: what they print is no interface (launchctl(1)).
 *
 * @internal
 */
export const parseJobPid = (text: string): Option.Option<number> =>
  Option.map(
    Option.fromNullable(/^\s*(?:"PID" = (\d+);|pid = (\d+))\s*$/m.exec(text)),
    (match) => Number(match[1] ?? match[2])
  )

/** By the domain of the caller, which is an agent's own, and by the system's, which anybody may ask. */
const jobPidOf = (label: string) =>
  Effect.gen(function*() {
    for (const words of [["list", label], ["print", `system/${label}`]]) {
      const pid = yield* output(child("launchctl", ...words), askTimeout).pipe(
        Effect.map(parseJobPid),
        Effect.orElseSucceed(() => Option.none<number>())
      )
      if (Option.isSome(pid)) return pid
    }
    return Option.none<number>()
  })

const collect = (
  facts: ProcessFacts
): Effect.Effect<Evidence, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor | ProcessTable> =>
  Effect.gen(function*() {
    const systemdExecPid = yield* variable("SYSTEMD_EXEC_PID")
    const notifySocket = yield* variable("NOTIFY_SOCKET")
    // Asking systemd starts a program: only where the cheaper proof cannot be had (before systemd 248).
    const askSystemd = facts.platform === "linux" && Option.isNone(systemdExecPid) && Option.isSome(notifySocket)
    const unit = askSystemd ? yield* ownUnit : Option.none<string>()
    const unitMainPid = Option.isNone(unit)
      ? Option.none<number>()
      : Option.orElse(yield* mainPidOf(unit.value, []), () => Option.none<number>())
    const userMainPid = Option.isSome(unit) && Option.isNone(unitMainPid)
      ? yield* mainPidOf(unit.value, ["--user"])
      : Option.none<number>()
    const xpcServiceName = yield* variable("XPC_SERVICE_NAME")
    // Where the cheaper proof of the opposite cannot be had.
    const label = facts.platform === "darwin" && facts.parentPid === 1
      ? Option.filter(xpcServiceName, (name) => isLabel(name) && !isApplication(name))
      : Option.none<string>()
    return {
      ...facts,
      systemdExecPid,
      notifySocket,
      unitMainPid: Option.orElse(unitMainPid, () => userMainPid),
      xpcServiceName,
      jobPid: Option.isSome(label) ? yield* jobPidOf(label.value) : Option.none<number>(),
      // Asking Windows takes PowerShell, which takes seconds, and a start does not wait for that. A task that
      // `service install` has made says who started it.
      parentCommand: Option.none<string>()
    }
  })

/**
 * The supervisor that was named, or, for `auto`, the one that can be proved. The verdict and its reason are logged at
 * debug level.
 *
 * Never fails. systemd before 248 is asked, for two seconds at most for each of its managers, as is launchd where this process
 * may be a job's or an orphan of one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  setting: "auto" | SupervisorKind,
  facts: ProcessFacts
): Effect.Effect<Verdict, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor | ProcessTable> =>
  (setting === "auto"
    ? Effect.map(collect(facts), detect)
    : Effect.succeed(verdict(setting, "told so by the supervisor setting"))).pipe(
      Effect.tap(({ kind, reason }) => Effect.logDebug(`supervisor: ${kind} (${reason})`))
    )

/**
 * The verdict of `make`, as a layer.
 *
 * @example
 * import { NodeContext } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import { Host, Supervisor } from "gateway-lock"
 *
 * const facts = { platform: process.platform, pid: process.pid, parentPid: process.ppid }
 *
 * const program = Effect.gen(function*() {
 *   const { kind, reason } = yield* Supervisor.Supervisor
 *   yield* Effect.log(`restarted by ${kind}: ${reason}`)
 * }).pipe(
 *   Effect.provide(Supervisor.layer("auto", facts)),
 *   Effect.provide(Host.ProcessTable.layerLive),
 *   Effect.provide(NodeContext.layer)
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  setting: "auto" | SupervisorKind,
  facts: ProcessFacts
): Layer.Layer<Supervisor, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor | ProcessTable> =>
  Layer.effect(Supervisor, make(setting, facts))
