/**
 * Formats the status of a gateway as text and as JSON. Pure.
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { toUrl } from "../Address.ts"
import * as GatewayStatus from "../inspect/GatewayStatus.ts"
import { formatDuration, inWholeSeconds } from "../internal/formatDuration.ts"
import { printable } from "../internal/printable.ts"
import { leaseFlags } from "../report/leaseFlags.ts"
import { describeProcess, describeSince } from "../report/words.ts"
import { defaultProfile, settings } from "../settings/GatewayConfig.ts"
import * as ServiceCommands from "../supervisor/ServiceCommands.ts"
import { ExitStatus } from "./ExitStatus.ts"
import { sameGateway } from "./sameGateway.ts"

type Status = GatewayStatus.GatewayStatus
type Row = readonly [label: string, value: string]

/** The exit status for a verdict, as the Linux Standard Base (LSB) defines it for the `status` action of an init script. */
export const exitStatusOf = (verdict: GatewayStatus.Verdict): number => {
  switch (verdict) {
    case "running":
      return ExitStatus.ok
    case "dead":
      return ExitStatus.failure
    case "not-running":
      return ExitStatus.notRunning
    default:
      return ExitStatus.otherwise
  }
}

/** The verdict in words, with spaces instead of hyphens. */
export const verdictWords = (verdict: GatewayStatus.Verdict): string => verdict.replaceAll("-", " ")

// ---------------------------------------------------------------------------
// colours
// ---------------------------------------------------------------------------

/** Codes of foreground colours: the parameters of Select Graphic Rendition (ECMA-48, 8.3.117). */
const sgr = { green: 32, yellow: 33, red: 31, grey: 90 } as const

const colorOf = (verdict: GatewayStatus.Verdict): keyof typeof sgr => {
  switch (verdict) {
    case "running":
    case "standby":
      return "green"
    case "starting":
    case "draining":
      return "yellow"
    case "not-running":
      return "grey"
    default:
      return "red"
  }
}

export interface Style {
  /** Whether colours may be used. */
  readonly colors: boolean
}

export const paintVerdict = (text: string, verdict: GatewayStatus.Verdict, { colors }: Style): string =>
  colors ? `\u001b[${sgr[colorOf(verdict)]}m${text}\u001b[0m` : text

// ---------------------------------------------------------------------------
// one gateway
// ---------------------------------------------------------------------------

const ownerRows = ({ lock, owner }: Status, now: number): ReadonlyArray<Row> => {
  if (owner === undefined) return lock.state === "held" ? [["held by", "an unknown process"]] : []
  const { configPath, phase, profile, since, stateDir, supervisor, supervisorReason } = owner
  return [
    [lock.state === "left" ? "left by" : "held by", describeProcess(owner)],
    ...(since === undefined ? [] : [["since", describeSince(since, now)] as const]),
    ...(phase === undefined ? [] : [["phase", phase] as const]),
    ...(profile === undefined ? [] : [["profile", profile] as const]),
    ...(configPath === undefined ? [] : [["config", configPath] as const]),
    ...(stateDir === undefined ? [] : [["state", stateDir] as const]),
    ...(supervisor === undefined
      ? []
      : [["supervisor", supervisorReason === undefined ? supervisor : `${supervisor} (${supervisorReason})`] as const])
  ]
}

const leaseStates = { standby: "stands by", leader: "leads", lost: "has lost its leadership, and ends" } as const

/** When a leader stops by itself. Each renewal moves this moment. */
const fenceWords = (trustedUntil: DateTime.Utc, now: number): string => {
  const left = DateTime.toEpochMillis(trustedUntil) - now
  return left > 0
    ? `stops leading in ${
      formatDuration(Duration.millis(Math.max(Math.round(left / 1000) * 1000, 1000)))
    } unless it renews the lease`
    : "should have stopped leading: it is stopped, or hangs"
}

const leaseRows = ({ lease }: Status, now: number): ReadonlyArray<Row> => {
  if (lease === undefined) return []
  const { fencingToken, name, renewedAt, state, store, trustedUntil } = lease
  return [
    ["lease", `${name}${store === undefined ? "" : ` at ${store}`}, ${leaseStates[state]}`],
    ...(fencingToken === undefined ? [] : [["token", fencingToken] as const]),
    ...(renewedAt === undefined ? [] : [["renewed", describeSince(renewedAt, now)] as const]),
    ...(trustedUntil === undefined ? [] : [["fence", fenceWords(trustedUntil, now)] as const])
  ]
}

const listenerWords = ({ command, host, isOwner, pid }: GatewayStatus.Listener): string =>
  pid === undefined
    ? `a process on ${host}, not visible from here`
    : `pid ${pid}${command === undefined ? "" : ` (${command})`} on ${host}${isOwner ? ", the owner" : ""}`

const stateWords = ({ blocked, state }: NonNullable<Status["port"]>): string => {
  if (blocked !== undefined) return `cannot be bound: ${blocked.reason}`
  return state === "free" ? "free" : "in use"
}

const healthRows = ({ health }: Status): ReadonlyArray<Row> => {
  if (health === undefined) return []
  const identity = { owner: ", the owner of the lock", other: ", not the owner of the lock", unknown: "" }
  return [["health", `${health.detail}${health.rule === undefined ? identity[health.identity] : ` (${health.rule})`}`]]
}

const portRows = ({ port }: Status): ReadonlyArray<Row> => {
  if (port === undefined) return []
  const listeners = port.listeners.map((listener) => ["listens", listenerWords(listener)] as const)
  const unseen = port.state !== "free" && listeners.length === 0
    ? [
      [
        "listens",
        `not visible from here${port.listenersUnknown === undefined ? "" : ` (${port.listenersUnknown})`}`
      ] as const
    ]
    : []
  return [
    ["port", `${toUrl(port)}, ${stateWords(port)}`],
    ...listeners,
    ...unseen
  ]
}

const lockWords = ({ age = Duration.zero, enforcement, path, reason, state }: GatewayStatus.Lock): string => {
  switch (state) {
    case "absent":
      return `${path}, absent`
    case "held":
      return `${path}, held (${enforcement === "record" ? "lock record only, no kernel lock" : "kernel lock"})`
    case "left":
      return `${path}, stale; last updated ${inWholeSeconds(age)} ago`
    case "unknown":
      return `${path}, unknown: ${reason ?? ""}`
  }
}

const inheritorRows = ({ lock: { holders = [] } }: Status): ReadonlyArray<Row> =>
  holders.map(({ command, pid }) => ["lock open in", command === undefined ? `pid ${pid}` : `pid ${pid} (${command})`])

const stateLockRows = ({ stateLock }: Status): ReadonlyArray<Row> =>
  stateLock?.owner === undefined ? [] : [[
    "state lock",
    `held by ${describeProcess(stateLock.owner)} for another config, ${stateLock.owner.configPath ?? ""}`
  ]]

const serviceRows = ({ service }: Status): ReadonlyArray<Row> => {
  if (service === undefined) return []
  const { activeState, stateDir, unit, user } = service
  return [
    [
      "service",
      `system service ${unit.name}, ${activeState}, runs as user ${user}${
        stateDir === undefined ? "" : `, state in ${stateDir}`
      }`
    ]
  ]
}

/**
 * The rows with the `systemctl` commands that show and stop the system service. If the verdict is `foreign-listener`, the
 * service may be a program other than a gateway. The row with the stop command is then left out.
 */
const serviceCommands = ({ service, verdict }: Status): ReadonlyArray<Row> => {
  const commands = service === undefined
    ? Option.none()
    : ServiceCommands.make({ supervisor: "systemd", unit: service.unit })
  return Option.match(commands, {
    onNone: () => [],
    onSome: ({ status, stop }) => [
      ["to see its service", status],
      ...(verdict === "foreign-listener" ? [] : [["to stop it", stop] as const])
    ]
  })
}

/** How the status was asked for. */
export interface Asked {
  /** The flags of the command line. */
  readonly flags: ReadonlyMap<string, string>
  /** Whether the settings of the command name the store of a lease. */
  readonly isLeased: boolean
}

/**
 * The flags that a command about the lease needs beside those of `status`. The record of the owner has the name of the lease, but not
 * the URL of the store, which may be a secret.
 */
const ofLease = (
  name: string | undefined,
  { profile }: Status,
  { flags, isLeased }: Asked,
  platform: string
): string =>
  name === undefined ? "" : leaseFlags(
    { name, urlFile: isLeased ? undefined : "<path>" },
    flags.get(settings["lease.name"].flag ?? "") ?? profile ?? defaultProfile,
    platform
  )

/** The command that starts again what an owner that has ended was: a gateway, or a wrapper of a command. */
const startAgain = (status: Status, asked: Asked, platform: string): string => {
  const { leaseName, mode, port } = status.owner ?? {}
  const lease = ofLease(leaseName, status, asked, platform)
  if (mode !== "exec") return `${sameGateway("run", asked.flags, platform)}${lease}`
  const flags = port === 0
    ? new Map([...asked.flags].filter(([flag]) => flag !== settings.port.flag && flag !== settings.host.flag))
    : asked.flags
  return `${sameGateway(port === 0 ? "exec --no-port" : "exec", flags, platform)}${lease} -- <command>`
}

const nextRows = (status: Status, asked: Asked, platform: string): ReadonlyArray<Row> => {
  const command = (words: string) => sameGateway(words, asked.flags, platform)
  const { port, service, verdict } = status
  if (service !== undefined) {
    return [
      ...(verdict === "running" && port !== undefined ? [["to use it", toUrl(port)] as const] : []),
      ...serviceCommands(status),
      ...(verdict === "foreign-listener" ? [["to check it", command("doctor")] as const] : [])
    ]
  }
  switch (verdict) {
    case "running":
      return [
        ...(port === undefined ? [] : [["to use it", toUrl(port)] as const]),
        ["to stop it", command("stop")]
      ]
    case "dead":
    case "not-running":
      return port?.blocked === undefined
        ? [["to start it", startAgain(status, asked, platform)]]
        : [["to check it", command("doctor")]]
    case "standby":
      return [
        ["to see the leader", `${command("leader show")}${ofLease(status.lease?.name, status, asked, platform)}`],
        ["to stop it", command("stop")]
      ]
    case "unhealthy":
      return [["to stop it", command("stop --force")]]
    case "foreign-listener":
    case "unknown":
      return [["to check it", command("doctor")]]
    case "starting":
    case "draining":
      return []
  }
}

/** All rows below the first line. */
export const rows = (
  status: Status,
  asked: Asked,
  nowMillis: number,
  platform: string
): ReadonlyArray<Row> => [
  ...ownerRows(status, nowMillis),
  ...leaseRows(status, nowMillis),
  ...serviceRows(status),
  ...portRows(status),
  ...healthRows(status),
  ["lock", lockWords(status.lock)],
  ...inheritorRows(status),
  ...stateLockRows(status),
  ["because", status.reason],
  ...nextRows(status, asked, platform),
  ...status.warnings.map((warning) => ["warning", warning] as const)
]

/** A short name of the gateway: its profile, or its state directory if it has no profile. */
const nameOf = ({ profile, stateDir }: Status): string => profile ?? stateDir

/** Formats a status as text: a line with the verdict, then one aligned row for each fact. */
export const toText = (
  status: Status,
  asked: Asked,
  nowMillis: number,
  style: Style,
  platform: string
): string => {
  const all = rows(status, asked, nowMillis, platform)
  const width = Math.max(...all.map(([label]) => label.length))
  return [
    `gateway ${printable(nameOf(status))}: ${paintVerdict(verdictWords(status.verdict), status.verdict, style)}`,
    ...all.map(([label, value]) => `  ${`${label}:`.padEnd(width + 1)} ${printable(value)}`)
  ].join("\n")
}

/** Formats a status as JSON, in the form that the Schema `GatewayStatus` describes. */
export const toJson = (status: Status): string =>
  JSON.stringify(Schema.encodeSync(GatewayStatus.GatewayStatus)(status), null, 2)
