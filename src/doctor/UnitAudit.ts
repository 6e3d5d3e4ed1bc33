/**
 * Checks that an installed systemd unit fits a gateway. The properties come from the systemd manager instead of the unit
 * file, so that drop-ins count.
 *
 * @since 0.1.0
 */
import * as Command from "@effect/platform/Command"
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { child, exitStatus, output } from "../internal/child.ts"
import { formatDuration } from "../internal/formatDuration.ts"
import { shellWord } from "../internal/shellWord.ts"
import { showUnit } from "../internal/systemctl.ts"
import { joinExecStart } from "../internal/unitProperties.ts"
import type { ServiceScope } from "../supervisor/ServiceOptions.ts"
import * as StablePaths from "../supervisor/StablePaths.ts"
import { error, type Finding, info, ok, warning } from "./DoctorReport.ts"
import { parseExecStart, type UnitCommand } from "./UnitCommand.ts"

/**
 * The properties of a unit that the audit needs, as `systemctl show` prints them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unit extends UnitCommand {
  readonly name: string
  readonly scope: ServiceScope
  readonly activeState: string
  /** The result of the last run: `success`, `exit-code`, `start-limit-hit`, … */
  readonly result: string
  readonly mainStatus: string
  readonly type: string
  readonly notifyAccess: string
  readonly restart: string
  readonly restartSec: Duration.Duration
  readonly restarts: number
  readonly startTimeout: Duration.Duration
  readonly stopTimeout: Duration.Duration
  /** The value of `WatchdogSec=`; infinite if the unit has no watchdog. */
  readonly watchdog: Duration.Duration
  readonly startLimitInterval: Duration.Duration
  readonly startLimitBurst: number
  readonly restartPrevented: ReadonlyArray<string>
  readonly needsReload: boolean
  /** The value of `User=`; empty if it is not set. A system unit without `User=` runs as root, unless its user is dynamic. */
  readonly user: string
  readonly isUserDynamic: boolean
}

const spans: Readonly<Record<string, number>> = {
  us: 0.001,
  ms: 1,
  s: 1000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  // systemd counts 365.25 days for a year, and a twelfth of that for a month (systemd.time(7)).
  month: 2_629_800_000,
  y: 31_557_600_000
}

/**
 * Parses a time span as systemd prints it (systemd.time(7)): `1min 30s`, `500ms`, `0`, `infinity`.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseSpan = (text: string): Option.Option<Duration.Duration> => {
  const words = text.trim()
  if (words === "infinity") return Option.some(Duration.infinity)
  if (words === "0") return Option.some(Duration.zero)
  if (!/^(\d+(\.\d+)?[a-z]+)( \d+(\.\d+)?[a-z]+)*$/.test(words)) return Option.none()
  let millis = 0
  for (const [, count = "", unit = ""] of words.matchAll(/(\d+(?:\.\d+)?)([a-z]+)/g)) {
    const span = Object.hasOwn(spans, unit) ? spans[unit] : undefined
    if (span === undefined) return Option.none()
    millis += Number(count) * span
  }
  return Option.some(Duration.millis(millis))
}

const properties = [
  "LoadState",
  "ActiveState",
  "Result",
  "ExecMainStatus",
  "Type",
  "NotifyAccess",
  "Restart",
  "RestartUSec",
  "NRestarts",
  "TimeoutStartUSec",
  "TimeoutStopUSec",
  "WatchdogUSec",
  "StartLimitIntervalUSec",
  "StartLimitBurst",
  "RestartPreventExitStatus",
  "NeedDaemonReload",
  "User",
  "DynamicUser",
  "ExecStart"
]

/**
 * Parses the output of `systemctl show`. Returns `None` if the manager does not know the unit. A property that an older
 * systemd does not print gets a value that causes no finding.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseShow = (text: string, name: string, scope: ServiceScope): Option.Option<Unit> => {
  const values = new Map(
    joinExecStart(text).split("\n").flatMap((line) => {
      const at = line.indexOf("=")
      return at === -1 ? [] : [[line.slice(0, at), line.slice(at + 1).trim()] as const]
    })
  )
  const value = (property: string) => values.get(property) ?? ""
  if (value("LoadState") !== "loaded") return Option.none()
  const span = (property: string) => Option.getOrElse(parseSpan(value(property)), () => Duration.infinity)
  const count = (property: string) => {
    const number = Number(value(property))
    return Number.isSafeInteger(number) ? number : 0
  }
  const watchdog = span("WatchdogUSec")
  return Option.some({
    name,
    scope,
    activeState: value("ActiveState"),
    result: value("Result"),
    mainStatus: value("ExecMainStatus"),
    type: value("Type"),
    notifyAccess: value("NotifyAccess"),
    restart: value("Restart"),
    restartSec: span("RestartUSec"),
    restarts: count("NRestarts"),
    startTimeout: span("TimeoutStartUSec"),
    stopTimeout: span("TimeoutStopUSec"),
    watchdog: Duration.toMillis(watchdog) === 0 ? Duration.infinity : watchdog,
    startLimitInterval: span("StartLimitIntervalUSec"),
    startLimitBurst: count("StartLimitBurst"),
    restartPrevented: value("RestartPreventExitStatus").split(/\s+/).filter((status) => status !== ""),
    needsReload: value("NeedDaemonReload") === "yes",
    user: value("User"),
    isUserDynamic: value("DynamicUser") === "yes",
    ...parseExecStart(value("ExecStart"))
  })
}

/**
 * The facts about the gateway and this machine with which a unit is compared.
 *
 * @since 0.1.0
 * @category models
 */
export interface Needs {
  readonly drainTimeout: Duration.Duration
  /** How long a stop may wait for the lease store in addition. Zero without a lease. */
  readonly releaseTimeout: Duration.Duration
  readonly health: { readonly timeout: Duration.Duration }
  /** The command that replaces the unit with a suitable unit. */
  readonly install: string
  /** Whether systemd-notify(1) can be started. */
  readonly canNotify: boolean
  /** One entry for each of the unit's two paths (of Node and of the program) that an upgrade or a clean-up may remove. */
  readonly unstable: ReadonlyArray<StablePaths.Advice>
}

/** The command that replaces the unit. systemd does not say where a word of the unit's command ends, so a placeholder stands for it. */
const installOf = ({ exec }: Unit, { install }: Needs): string =>
  exec === undefined ? install : `${install} --exec -- <command>`

/** The command that installs the unit with a stable path of Node or of the program. */
const installWith = ({ of, prefer }: StablePaths.Advice, install: string): string =>
  install.replace(/^gateway /, `${shellWord(prefer)} ${of === "node" ? "\"$(command -v gateway)\" " : ""}`)

/** Restarts should continue for at least this time, so that they outlast a short fault such as a disk that is mounted late. */
const shortestPatience = Duration.seconds(10)

const show = (duration: Duration.Duration): string =>
  Duration.isFinite(duration) ? formatDuration(duration) : "infinity"

const restartsFailures = ({ restart }: Unit): boolean => restart === "always" || restart === "on-failure"

/**
 * Whether systemd has stopped restarting the unit because it reached its start limit (systemd.unit(5), `StartLimitBurst`).
 *
 * systemd reports the result `start-limit-hit` only if no other failure came before. After another failure, the result is that
 * failure. In this case, the start limit is the cause if the unit is `failed`, its settings ask for a restart after this failure,
 * and it was restarted as often as the limit allows. Pure.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isLatched = (unit: Unit): boolean =>
  unit.result === "start-limit-hit"
  || (unit.activeState === "failed" && restartsFailures(unit) && unit.startLimitBurst > 0
    && unit.restarts >= unit.startLimitBurst - 1
    && !(unit.result === "exit-code" && unit.restartPrevented.includes(unit.mainStatus)))

/**
 * How long a start waits for an unhealthy owner of the lock to become healthy, before the start fails. It is the smallest of the
 * timeouts that can end such a start.
 */
const shortestWait = (unit: Unit, { health }: Needs): Duration.Duration =>
  [health.timeout, unit.startTimeout, unit.watchdog].reduce((a, b) => Duration.min(a, b))

const seconds = Duration.toSeconds

const systemctl = ({ scope }: Unit): string => scope === "user" ? "systemctl --user" : "systemctl"

/** The command that installs a suitable unit and restarts the service. */
const renew = (unit: Unit, needs: Needs): string =>
  `${installOf(unit, needs)} && ${systemctl(unit)} restart ${unit.name}`

/** Checks whether the unit has reached its start limit, has failed, or differs from its file on disk. */
const auditState = (unit: Unit): ReadonlyArray<Finding> => {
  const { name, startLimitBurst, startLimitInterval } = unit
  const findings: Array<Finding> = []
  if (isLatched(unit)) {
    findings.push(error(
      "unit",
      `${name} has reached its start limit: more than ${startLimitBurst} starts in ${
        show(startLimitInterval)
      }, so systemd does not start it again`,
      `${systemctl(unit)} reset-failed ${name} && ${systemctl(unit)} start ${name}`
    ))
  } else if (unit.activeState === "failed" && !(unit.result === "exit-code" && unit.mainStatus === "78")) {
    findings.push(warning(
      "unit",
      `${name} has failed (${unit.result}, status ${unit.mainStatus})`,
      `journalctl ${unit.scope === "user" ? "--user-unit" : "-u"} ${name} -n 50`
    ))
  }
  if (unit.needsReload) {
    findings.push(
      warning("unit", `${name} has changed on disk since systemd read it`, `${systemctl(unit)} daemon-reload`)
    )
  }
  return findings
}

/**
 * Checks that systemd restarts the unit after a crash, but not after a failure that a restart would repeat. There are two such
 * failures: a setting is wrong, or another healthy gateway is already running.
 */
const auditRestarts = (unit: Unit, needs: Needs): ReadonlyArray<Finding> => {
  const { name } = unit
  if (!restartsFailures(unit)) {
    return [warning("unit", `${name} has Restart=${unit.restart}: a crash is not restarted`, renew(unit, needs))]
  }
  const findings: Array<Finding> = []
  if (!unit.restartPrevented.includes("78")) {
    findings.push(error(
      "unit",
      `${name} has no 78 in RestartPreventExitStatus: a duplicate is restarted in an endless loop`,
      renew(unit, needs)
    ))
  }
  if (!unit.restartPrevented.includes("64")) {
    findings.push(warning(
      "unit",
      `${name} has no 64 in RestartPreventExitStatus: a start with invalid settings is retried in an endless loop`,
      renew(unit, needs)
    ))
  }
  return [...findings, ...auditStartLimit(unit, needs)]
}

/**
 * Checks that the unit's start limit allows for two things: starts that wait in vain for an unhealthy owner, and a fault that ends
 * the service a few times.
 */
const auditStartLimit = (unit: Unit, needs: Needs): ReadonlyArray<Finding> => {
  const { name, restartSec, startLimitBurst, startLimitInterval } = unit
  if (startLimitBurst <= 0 || Duration.toMillis(startLimitInterval) <= 0) return []
  const findings: Array<Finding> = []
  const distance = seconds(restartSec) + seconds(shortestWait(unit, needs))
  if (seconds(startLimitInterval) >= startLimitBurst * distance) {
    findings.push(warning(
      "unit",
      `${name}: ${startLimitBurst} starts that wait for an owner, ${
        Math.round(distance)
      }s apart, are within StartLimitIntervalSec=${
        show(startLimitInterval)
      }: one unhealthy owner exhausts the start limit`,
      renew(unit, needs)
    ))
  }
  const patience = Duration.times(restartSec, startLimitBurst)
  if (Duration.lessThan(patience, Duration.min(startLimitInterval, shortestPatience))) {
    findings.push(warning(
      "unit",
      `${name}: with RestartSec=${show(restartSec)}, a failure that lasts ${show(patience)} exhausts the start limit`,
      renew(unit, needs)
    ))
  }
  return findings
}

/**
 * Checks that systemd gives the gateway more time to stop than the drain timeout. Otherwise systemd kills the gateway while the
 * gateway waits for its open connections. A command of `exec` must have more time than `--stop-timeout`. With a lease, both need the
 * time to release it as well.
 */
const auditStop = (unit: Unit, needs: Needs): ReadonlyArray<Finding> => {
  const { exec, name, stopTimeout } = unit
  const ending = exec?.stopTimeout ?? needs.drainTimeout
  const isEndCut = Duration.lessThanOrEqualTo(stopTimeout, ending)
  if (!isEndCut && Duration.greaterThan(stopTimeout, Duration.sum(ending, needs.releaseTimeout))) return []
  const what = `the ${exec === undefined ? "drain" : "stop"} timeout of ${show(ending)}`
  return [warning(
    "unit",
    `${name}: TimeoutStopSec=${show(stopTimeout)} is not longer than ${
      isEndCut
        ? `${what}: systemd kills the ${exec === undefined ? "gateway during the drain" : "command"}`
        : `${what} and ${
          show(needs.releaseTimeout)
        } for the lease: systemd kills the gateway before it has released the lease`
    }`,
    renew(unit, needs)
  )]
}

/** Checks that the notification `READY=1` is sent, and that systemd accepts it. */
const auditNotification = (unit: Unit, needs: Needs): ReadonlyArray<Finding> => {
  const { name } = unit
  if (unit.type !== "notify" && unit.type !== "notify-reload") {
    return [
      warning("unit", `${name} is Type=${unit.type}: systemd counts it as active before it listens`, renew(unit, needs))
    ]
  }
  const findings: Array<Finding> = []
  if (unit.notifyAccess !== "all") {
    findings.push(error(
      "unit",
      `${name} has NotifyAccess=${unit.notifyAccess}: systemd ignores READY=1, because a child process, systemd-notify, sends it`,
      renew(unit, needs)
    ))
  }
  if (!needs.canNotify) {
    findings.push(error(
      "unit",
      `${name} is Type=${unit.type}, but systemd-notify is not installed: the unit never becomes active`,
      "command -v systemd-notify || sudo apt-get install systemd"
    ))
  }
  return findings
}

/** Checks the user that the unit runs as, and the paths of Node and of the program. */
const auditProgram = (unit: Unit, needs: Needs): ReadonlyArray<Finding> => {
  const { name } = unit
  const findings: Array<Finding> = []
  if (unit.scope === "system" && !unit.isUserDynamic && unit.user === "") {
    findings.push(warning(
      "unit",
      `${name} runs as root: an attacker who breaks into the ${
        unit.exec === undefined ? "gateway" : "command"
      } controls the whole machine`,
      renew(unit, needs)
    ))
  }
  for (const advice of needs.unstable) {
    findings.push(warning(
      "unit",
      `${name} runs ${StablePaths.describe(advice, ", which may disappear")}`,
      `${installWith(advice, installOf(unit, needs))} && ${systemctl(unit)} restart ${name}`
    ))
  }
  if (unit.scope === "system" && (unit.user === "root" || unit.user === "0")) {
    findings.push(info("unit", `${name} runs as root, as set by its User=`))
  }
  return findings
}

/**
 * The findings about a unit. Pure.
 *
 * `auditStartLimit` follows this rule: starts that are `P` seconds apart never reach the start limit if and only if
 * `StartLimitIntervalSec < StartLimitBurst · P`. `systemdTiming` in `supervisor/SystemdUnit.ts` explains the rule.
 *
 * @since 0.1.0
 * @category decisions
 */
export const audit = (unit: Unit, needs: Needs): ReadonlyArray<Finding> => {
  const { name } = unit
  const findings = [
    ...auditState(unit),
    ...auditRestarts(unit, needs),
    ...auditStop(unit, needs),
    ...auditNotification(unit, needs),
    ...auditProgram(unit, needs),
    // The wrapper of a command feeds the watchdog as long as the command lives, so a watchdog would not notice a hang.
    ...(Duration.isFinite(unit.watchdog) || unit.exec !== undefined
      ? []
      : [info("unit", `${name} has no WatchdogSec: a gateway that hangs is not restarted`)])
  ]
  return findings.some(({ severity }) => severity !== "info")
    ? findings
    : [ok("unit", `${name} (${unit.scope}) is ${unit.activeState} and has the expected settings`), ...findings]
}

/** The time limit for one call of systemctl or systemd-notify. */
const timeLimit = Duration.seconds(3)

const ask = (name: string, scope: ServiceScope) =>
  showUnit({ name, scope }, properties).pipe(
    // stderr is captured and dropped. If no systemd manager runs, systemctl prints an error on stderr, and that error does not
    // belong to the report.
    Command.stderr("pipe"),
    (command) => output(command, timeLimit),
    Effect.map((text) => parseShow(text, name, scope)),
    Effect.orElseSucceed(() => Option.none<Unit>())
  )

const canNotify = Effect.suspend(() => exitStatus(child("systemd-notify", "--version"), timeLimit)).pipe(
  Effect.map((status) => status === 0),
  Effect.orElseSucceed(() => false)
)

/**
 * Checks the unit with the given name, both in the user's systemd manager and in the system's.
 *
 * @since 0.1.0
 * @category checks
 */
export const checkUnits = (
  name: string,
  needs: Omit<Needs, "canNotify" | "install" | "unstable"> & { readonly install: (scope: ServiceScope) => string }
): Effect.Effect<ReadonlyArray<Finding>, never, CommandExecutor.CommandExecutor | FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const asked = yield* Effect.all([ask(name, "user"), ask(name, "system")], { concurrency: "unbounded" })
    const units = asked.flatMap(Option.toArray)
    if (units.length === 0) return [info("unit", `systemd has no unit ${name} here`)]
    const able = yield* canNotify
    return (yield* Effect.forEach(
      units,
      (unit) =>
        Effect.map(
          StablePaths.advise(unit),
          (unstable) => audit(unit, { ...needs, install: needs.install(unit.scope), canNotify: able, unstable })
        )
    )).flat()
  })
