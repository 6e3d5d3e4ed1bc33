/**
 * Detects the supervisor that started this process, if there is one.
 *
 * Every descendant of a service inherits the service's environment variables, such as `INVOCATION_ID`, `XPC_SERVICE_NAME` and
 * `NOTIFY_SOCKET`. So none of these variables alone proves that this process is the service itself. The detection of systemd and
 * launchd therefore also compares pids.
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
 * The detected supervisor, and the reason why it was detected.
 *
 * @since 0.1.0
 * @category models
 */
export interface Verdict {
  readonly kind: SupervisorKind
  /** The evidence for `kind`, in words. */
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
 * The facts from which `detect` decides which supervisor started this process.
 *
 * @internal
 */
export interface Evidence {
  readonly platform: NodeJS.Platform
  readonly pid: number
  readonly parentPid: number
  /** `SYSTEMD_EXEC_PID`: the pid of the process that systemd itself started (systemd.exec(5), since systemd 248). */
  readonly systemdExecPid: Option.Option<string>
  /** `NOTIFY_SOCKET` (sd_notify(3)). */
  readonly notifySocket: Option.Option<string>
  /**
   * The pid of the main process of this process's systemd unit. The unit is found from the control group of this process. `None`
   * if systemd was not asked, or named no pid.
   */
  readonly unitMainPid: Option.Option<number>
  /** `XPC_SERVICE_NAME`: the label of the launchd job, or `0` if no job started this process. */
  readonly xpcServiceName: Option.Option<string>
  /** The pid of the launchd job's process, according to launchctl(1). `None` if launchctl was not asked, or named no pid. */
  readonly jobPid?: Option.Option<number> | undefined
  /** The file name of the parent's program, if it is known. */
  readonly parentCommand: Option.Option<string>
}

const verdict = (kind: SupervisorKind, reason: string): Verdict => ({ kind, reason })

/**
 * Whether a value of `XPC_SERVICE_NAME` names a job. In a login session, launchd sets the variable to `0` for each process that
 * belongs to no job.
 */
const isLabel = (name: string): boolean => name !== "" && name !== "0"

/**
 * Whether the label is of a job that launchd made for an opened application. A shell inherits such a label from its terminal
 * application, so the label does not prove that launchd started this process.
 */
const isApplication = (label: string): boolean => label.startsWith("application.")

/**
 * Decides which supervisor started this process. The first rule that matches wins. Pure.
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
        ? verdict("systemd", `SYSTEMD_EXEC_PID is this process (pid ${pid})`)
        : verdict(
          "none",
          `SYSTEMD_EXEC_PID is ${systemdExecPid.value}, not this process (pid ${pid}): inherited from a service`
        )
    }
    if (Option.isSome(notifySocket) && Option.isSome(unitMainPid)) {
      return unitMainPid.value === pid
        ? verdict("systemd", `NOTIFY_SOCKET is set, and this process (pid ${pid}) is the main process of its unit`)
        : verdict(
          "none",
          `NOTIFY_SOCKET is set, but the main process of the unit is ${unitMainPid.value}, not this process (pid ${pid})`
        )
    }
  }
  if (platform === "darwin" && Option.exists(xpcServiceName, isLabel)) {
    if (parentPid !== 1) {
      return verdict(
        "none",
        `XPC_SERVICE_NAME is set, but the parent process is pid ${parentPid}: inherited from a job`
      )
    }
    if (Option.exists(xpcServiceName, isApplication)) {
      return verdict("none", `XPC_SERVICE_NAME is that of an application, which launchd does not restart`)
    }
    // launchd also adopts a process whose own parent has ended. So a process with launchd as parent need not be the job's process.
    // The job's pid decides, if launchctl has told it.
    if (Option.exists(jobPid, (job) => job !== pid)) {
      return verdict(
        "none",
        `XPC_SERVICE_NAME is set, but the job's process is ${
          Option.getOrElse(jobPid, () => 0)
        }, not this process (pid ${pid})`
      )
    }
    return Option.isSome(jobPid)
      ? verdict("launchd", `XPC_SERVICE_NAME is set, and this process (pid ${pid}) is the job's process`)
      : verdict("launchd", `XPC_SERVICE_NAME is set, and the parent process is launchd`)
  }
  if (
    platform === "win32" && Option.exists(parentCommand, (name) => /^(svchost|taskeng|taskhostw)\.exe$/i.test(name))
  ) {
    return verdict("schtasks", `the parent process is ${Option.getOrElse(parentCommand, () => "")}, the Task Scheduler`)
  }
  return verdict("none", "no supervisor was detected")
}

/**
 * Facts about this process that the caller passes in.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessFacts {
  /** The value of `process.platform`. */
  readonly platform: NodeJS.Platform
  readonly pid: number
  readonly parentPid: number
}

/** The unit name at the end of the path of this process's control group, as in `0::/system.slice/gateway-default.service`. */
const ownUnit = Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString("/proc/self/cgroup")).pipe(
  Effect.map((text) => Option.fromNullable(/([^/\n]+\.(?:service|scope))$/m.exec(text)?.[1])),
  Effect.orElseSucceed(() => Option.none<string>())
)

/** How long systemctl or launchctl may take to answer. */
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
 * Reads the job's pid from the output of `launchctl list <label>` (`"PID" = 123;`) or `launchctl print <target>` (`pid = 123`).
 * `None` for a job without a process. Also `None` for any other output, because launchctl(1) says that the output is not an
 * interface, so its format may change.
 *
 * @internal
 */
export const parseJobPid = (text: string): Option.Option<number> =>
  Option.map(
    Option.fromNullable(/^\s*(?:"PID" = (\d+);|pid = (\d+))\s*$/m.exec(text)),
    (match) => Number(match[1] ?? match[2])
  )

/**
 * Asks launchctl for the process of a job. `list` looks in the domain of the caller, where the agents are. `print system/…` looks
 * in the system domain, where the daemons are. Every user may print the system domain.
 */
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
    // A query to systemd starts a program. The query is necessary only if systemd is older than version 248, because such a
    // systemd does not set SYSTEMD_EXEC_PID.
    const askSystemd = facts.platform === "linux" && Option.isNone(systemdExecPid) && Option.isSome(notifySocket)
    const unit = askSystemd ? yield* ownUnit : Option.none<string>()
    const unitMainPid = Option.isNone(unit)
      ? Option.none<number>()
      : Option.orElse(yield* mainPidOf(unit.value, []), () => Option.none<number>())
    const userMainPid = Option.isSome(unit) && Option.isNone(unitMainPid)
      ? yield* mainPidOf(unit.value, ["--user"])
      : Option.none<number>()
    const xpcServiceName = yield* variable("XPC_SERVICE_NAME")
    // A query to launchd starts a program, which takes time. The query is skipped if other facts already prove that this process
    // is not the process of a launchd job.
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
      // On Windows, only PowerShell can find the parent's program. PowerShell takes seconds, which is too long for a start. So the
      // scheduled task that `gateway service install` makes starts the gateway with `--supervisor schtasks` instead.
      parentCommand: Option.none<string>()
    }
  })

/**
 * Returns the supervisor that `setting` names. For `auto`, detects the supervisor from `facts`, the environment, and the answers
 * of systemd or launchd. Logs the supervisor and the reason at debug level. Never fails.
 *
 * Asks for the unit's main pid only if systemd is older than version 248: first the system's systemd, then the user's. Asks launchd
 * for the job's pid only if this process may be the process of a job: first in the user's domain, then in the system's domain. Each
 * of these questions takes at most two seconds.
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
    : Effect.succeed(verdict(setting, "chosen by the supervisor setting"))).pipe(
      Effect.tap(({ kind, reason }) => Effect.logDebug(`supervisor: ${kind} (${reason})`))
    )

/**
 * Provides the supervisor that `make` returns, and the reason.
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
