/**
 * Finds the problems of a gateway on this host, and for each problem the command that fixes it.
 *
 * The examination is read-only with one exception. The examination creates a temporary file in the lock folder to test whether
 * the file system enforces locks, and removes this file afterwards.
 *
 * @since 0.1.0
 */
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import { toUrl } from "../Address.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import type * as GatewayStatus from "../inspect/GatewayStatus.ts"
import * as SystemServices from "../inspect/SystemServices.ts"
import { adviceFor } from "../internal/advice.ts"
import { inWholeSeconds } from "../internal/formatDuration.ts"
import { shellWord } from "../internal/shellWord.ts"
import { lockFolder } from "../lock/LockPaths.ts"
import * as BadPorts from "../server/BadPorts.ts"
import { type GatewayConfig, isLeased, releaseTimeout } from "../settings/GatewayConfig.ts"
import { serviceNames } from "../supervisor/ServiceOptions.ts"
import * as Supervisor from "../supervisor/Supervisor.ts"
import { type DoctorReport, error, type Finding, info, isProblem, ok, warning } from "./DoctorReport.ts"
import * as ExecAudit from "./ExecAudit.ts"
import * as LockFolderAudit from "./LockFolderAudit.ts"
import * as UnitAudit from "./UnitAudit.ts"

export * as DoctorReport from "./DoctorReport.ts"

/**
 * The gateway to examine, and the process and user that examine it.
 *
 * @since 0.1.0
 * @category models
 */
export interface DoctorOptions {
  /** The settings of the gateway to examine. `GatewayConfig.resolveLenient` returns them with their problems. */
  readonly config: GatewayConfig
  /** The problems of the config file, one line each. */
  readonly problems: ReadonlyArray<string>
  /** The process that examines the gateway. The report says which supervisor a start from this process would detect. */
  readonly process: Supervisor.ProcessFacts
  /** The user ID of this process; `undefined` on Windows. */
  readonly uid: number | undefined
  /**
   * Makes the complete command line for the examined gateway from words such as `stop --force`. The remedies of the report
   * contain such command lines.
   */
  readonly command: (words: string) => string
}

type Requirements = GatewayStatus.Requirements | CommandExecutor.CommandExecutor

type Status = GatewayStatus.GatewayStatus

/** How far a recorded time may be in the future without a finding. Clock synchronization can cause differences up to this. */
const clockTolerance = Duration.minutes(1)

const checkConfig = ({ config, problems }: DoctorOptions, platform: string): ReadonlyArray<Finding> =>
  problems.length === 0
    ? [ok("config", `${config.configPath} is valid or does not exist`)]
    : problems.map((problem) => error("config", problem, adviceFor(platform).edit(config.configPath)))

const serviceWords = ({ stateDir, unit, user }: NonNullable<Status["service"]>): string =>
  `${unit.name}, a system service (user ${user}${stateDir === undefined ? "" : `, state in ${stateDir}`})`

/**
 * The findings about the lock and its holder. `seesKernelLocks` says whether kernel locks are available to this process. If not, it
 * cannot test the lock, so it does not know whether the owner has one. Pure.
 *
 * @internal
 */
export const judgeLock = (
  { lock, owner, service, verdict }: Pick<Status, "lock" | "owner" | "service" | "verdict">,
  command: DoctorOptions["command"],
  platform: string,
  seesKernelLocks = true
): ReadonlyArray<Finding> => {
  if (service !== undefined && lock.state === "unknown" && verdict !== "foreign-listener") {
    return [ok("lock", `${lock.path} belongs to ${serviceWords(service)}: ${lock.reason ?? ""}`)]
  }
  const by = owner?.pid === undefined ? "an unknown process" : `pid ${owner.pid}`
  const advice = adviceFor(platform)
  const findings: Array<Finding> = []
  switch (lock.state) {
    case "absent":
      findings.push(ok("lock", `${lock.path} is free`))
      break
    case "left":
      findings.push(
        info("leftovers", `${lock.path} was left by ${by}, which did not shut down cleanly; the next start reclaims it`)
      )
      break
    case "unknown":
      findings.push(
        error("lock", `the state of ${lock.path} is unknown: ${lock.reason ?? ""}`, advice.showAccess([lock.path]))
      )
      break
    case "held":
      findings.push(
        owner === undefined
          ? error("lock", `${lock.path} is held by ${by}`, advice.showFileUsers(lock.path))
          : verdict === "unhealthy"
          ? error("lock", `${lock.path} is held by ${by}, which does not serve`, command("stop --force"))
          : ok("lock", `${lock.path} is held by ${by}, ${owner.phase ?? "phase unknown"}`)
      )
      if (lock.enforcement === "record" && seesKernelLocks) {
        findings.push(info("lock", "only its record enforces the lock: its owner has no kernel lock"))
      }
  }
  return findings
}

/** The finding about the lock of the state directory, if a gateway with another config holds it. */
const judgeStateLock = ({ stateLock }: Pick<Status, "stateLock">, elsewhere: string): ReadonlyArray<Finding> =>
  stateLock?.state === "held"
    ? [
      error(
        "lock",
        `the state directory is in use by pid ${stateLock.owner?.pid ?? "unknown"} for another config, ${
          stateLock.owner?.configPath ?? "unknown"
        }`,
        elsewhere
      )
    ]
    : []

const listenerWords = ({ command, pid }: GatewayStatus.Listener): string =>
  pid === undefined ? "a process not visible from here" : `pid ${pid}${command === undefined ? "" : ` (${command})`}`

/**
 * The findings about the port and the process that listens on it. Pure.
 *
 * @internal
 */
export const judgePort = (
  { health, port, service, verdict }: Pick<Status, "health" | "port" | "service" | "verdict">,
  command: DoctorOptions["command"]
): ReadonlyArray<Finding> => {
  if (port === undefined) return []
  const url = toUrl(port)
  if (port.blocked !== undefined) {
    return [
      error(
        "port",
        `${url} cannot be bound, though nothing listens there: ${port.blocked.reason}`,
        command(`run --port ${BadPorts.nextAllowed(port.port)}`)
      )
    ]
  }
  if (port.state === "free") return [ok("port", `${url} is free`)]
  const who = service !== undefined
    ? serviceWords(service)
    : port.listeners.length === 0
    ? `a process not visible from here${port.listenersUnknown === undefined ? "" : ` (${port.listenersUnknown})`}`
    : [...new Set(port.listeners.map(listenerWords))].join(", ")
  const detail = health === undefined ? port.state : health.detail
  if (verdict === "foreign-listener") {
    return [
      error(
        "port",
        `${url} is in use by ${who}, not by this gateway: ${detail}`,
        command(`run --port ${BadPorts.nextAllowed(port.port)}`)
      )
    ]
  }
  if (verdict === "unhealthy" || (port.state === "stalled" && verdict !== "running" && verdict !== "standby")) {
    return [
      error(
        "port",
        `${url} is in use by ${who}: ${detail}`,
        service === undefined ? command("stop --force") : `systemctl restart ${shellWord(service.unit.name)}`
      )
    ]
  }
  return [ok("port", `${url} is in use by this gateway, ${who}: ${detail}`)]
}

const checkPortNumber = (port: number, start: (flags: string) => string): ReadonlyArray<Finding> =>
  BadPorts.isBad(port)
    ? [warning("port", BadPorts.warning(port), start(`--port ${BadPorts.nextAllowed(port)}`))]
    : []

/** The findings about the lock and the port, of a gateway or of an owner by `gateway exec`. */
const judgeOwner = (
  status: Status,
  exec: Option.Option<ExecAudit.ExecFacts>,
  locks: ReadonlyArray<Finding>,
  command: DoctorOptions["command"],
  platform: string
): Readonly<Record<"lock" | "port", ReadonlyArray<Finding>>> =>
  Option.match(exec, {
    onNone: () => ({
      lock: judgeLock(status, command, platform, !locks.some(isProblem)),
      port: judgePort(status, command)
    }),
    onSome: (facts) => ({
      lock: ExecAudit.judgeLock(status, facts, command, locks.find(isProblem)?.remedy),
      port: ExecAudit.judgePort(status, facts, command)
    })
  })

/**
 * Finds claims that remain from interrupted starts, and lock files with a modification time in the future. A claim is a file that
 * a start creates before it moves away the lock file of an owner that has ended.
 */
const checkLeftovers = ({ lock, owner }: Status, stateDir: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const advice = adviceFor(yield* HostPlatform)
    const folder = lockFolder({ stateDir })
    const names = yield* Effect.orElseSucceed(fs.readDirectory(folder), () => [])
    const now = yield* Clock.currentTimeMillis
    const findings: Array<Finding> = []
    const claims = names.filter((name) => /^gateway\..*\.(reclaim|stale)$/.test(name))
    if (claims.length > 0) {
      findings.push(
        lock.state === "held" || lock.state === "unknown"
          ? info("leftovers", `claims of other starts are in ${folder}: ${claims.length}`)
          : warning(
            "leftovers",
            `claims on locks of dead owners are left in ${folder}, unless a start uses them now: ${claims.length}`,
            advice.removeFiles(claims.map((name) => NodePath.join(folder, name)))
          )
      )
    }
    for (const name of names.filter((name) => name.endsWith(".lock"))) {
      const path = NodePath.join(folder, name)
      const info = yield* Effect.option(fs.stat(path))
      const mtime = Option.getOrUndefined(Option.flatMap(info, ({ mtime }) => mtime))
      const ahead = Duration.millis(Math.max(0, (mtime?.getTime() ?? 0) - now))
      if (Duration.greaterThan(ahead, clockTolerance)) {
        findings.push(warning(
          "clock",
          `${path} was written ${inWholeSeconds(ahead)} in the future: the clock was set back, or is wrong`,
          lock.state === "held" ? advice.syncClock : advice.renewTime(path)
        ))
      }
    }
    const ahead = Duration.millis(Math.max(0, (owner?.since?.epochMillis ?? 0) - now))
    if (findings.every(({ check }) => check !== "clock") && Duration.greaterThan(ahead, clockTolerance)) {
      findings.push(warning(
        "clock",
        `the owner acquired its lock ${inWholeSeconds(ahead)} in the future: the clock was set back, or is wrong`,
        advice.syncClock
      ))
    }
    return findings
  })

/** Loaded only if there is a lease, because it loads the code of the lease's store. */
const leaseAudit = Effect.promise(() => import("./LeaseAudit.ts"))

/**
 * Examines settings, lock folder, locks, port, lease, supervisor and systemd units. Never fails: a check that cannot be made is
 * reported as a finding.
 *
 * @example
 * import { Effect } from "effect"
 * import { Doctor, Gateway, GatewayConfig } from "gateway-lock"
 *
 * const program = Effect.gen(function*() {
 *   const { config, problems } = yield* GatewayConfig.resolveLenient(new Map())
 *   const report = yield* Doctor.examine({
 *     config,
 *     problems: problems.map(({ message }) => message),
 *     process: { platform: process.platform, pid: process.pid, parentPid: process.ppid },
 *     uid: process.getuid?.(),
 *     command: (words) => `gateway ${words}`
 *   })
 *   for (const { message, remedy } of report.findings.filter(Doctor.DoctorReport.isProblem)) {
 *     yield* Effect.logWarning(message, `to fix it: ${remedy}`)
 *   }
 * }).pipe(Effect.provide(Gateway.layerNode))
 *
 * @since 0.1.0
 * @category operations
 */
export const examine = (options: DoctorOptions): Effect.Effect<DoctorReport, never, Requirements> =>
  Effect.gen(function*() {
    const { command, config, uid } = options
    const platform = yield* HostPlatform
    const { configName, configPath, health, host, port, profile, stateDir } = config
    const unit = serviceNames("systemd", profile).name
    // These three effects run concurrently, because each of them waits for other processes or for the network.
    const [status, verdict, units, lease] = yield* Effect.all([
      SystemServices.inspect({ configName, configPath, health, host, port, profile, stateDir }),
      Supervisor.make(config.supervisor, options.process),
      platform === "linux"
        ? UnitAudit.checkUnits(unit, {
          drainTimeout: config.drainTimeout,
          releaseTimeout: releaseTimeout(config.lease),
          health,
          install: (scope) => command(scope === "system" ? "service install --system" : "service install")
        })
        : Effect.succeed([]),
      isLeased(config.lease)
        ? Effect.flatMap(leaseAudit, ({ checkStore }) => checkStore(config.lease, platform))
        : Effect.succeed([])
    ], { concurrency: "unbounded" })
    const exec = yield* ExecAudit.gather(status)
    /** The command that starts this gateway again with other flags. */
    const start = (flags: string) =>
      Option.match(exec, {
        onNone: () => command(`run ${flags}`),
        onSome: ({ record }) => ExecAudit.startCommand(record, command, flags)
      })
    const elsewhere = start("--state-dir <path>")
    const place = { stateDir, uid, elsewhere }
    // A gateway that runs as a system service has a state directory that systemd creates. Such a gateway does not use the
    // `stateDir` of `config`, so that directory is not checked.
    const isService = status.service !== undefined && status.verdict !== "foreign-listener"
    const folder = isService ? [] : yield* LockFolderAudit.checkFolder(place)
    const locks = isService ? [] : yield* LockFolderAudit.checkLocks(place)
    const judged = judgeOwner(status, exec, locks, command, platform)
    const findings = [
      ...checkConfig(options, platform),
      ...folder,
      ...locks,
      ...judged.lock,
      ...judgeStateLock(status, elsewhere),
      ...(yield* checkLeftovers(status, stateDir)),
      ...judged.port,
      ...checkPortNumber(port, start),
      ...lease,
      ...(isLeased(config.lease) || status.lease !== undefined
        ? (yield* leaseAudit).judgeOwner(status, config.lease, command)
        : []),
      ok("supervisor", `a start from here would detect: ${verdict.kind} (${verdict.reason})`),
      ...units
    ]
    return {
      version: 1,
      asOf: yield* DateTime.now,
      profile,
      configPath,
      stateDir,
      healthy: !findings.some(isProblem),
      findings
    }
  })
