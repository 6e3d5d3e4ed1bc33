/**
 * Checks an owner that is `gateway exec`. Such an owner is a wrapper: it holds the lock, and a command that it has started serves the
 * port. The command inherits the lock, and so do the processes that the command starts.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type Address, toUrl } from "../Address.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import { OpenLockFiles } from "../host/OpenLockFiles.ts"
import { PortOwners } from "../host/PortOwners.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import type * as GatewayStatus from "../inspect/GatewayStatus.ts"
import { adviceFor } from "../internal/advice.ts"
import { shellWord } from "../internal/shellWord.ts"
import * as LockFile from "../lock/LockFile.ts"
import { childOf } from "../lock/PresentProcess.ts"
import * as BadPorts from "../server/BadPorts.ts"
import { error, type Finding, info, ok, warning } from "./DoctorReport.ts"

type Status = GatewayStatus.GatewayStatus

/**
 * The facts about an owner by `gateway exec` that its status does not contain.
 *
 * @internal
 */
export interface ExecFacts {
  readonly record: LockFile.OwnerRecord.OwnerRecord
  /**
   * The processes, in words, that still hold the lock after the command has ended. Empty while the command runs, and if the system
   * does not show them.
   */
  readonly left: ReadonlyArray<string>
  /** The ports on which the owner and its descendants listen. */
  readonly ports: ReadonlyArray<number>
  /** A value of `process.platform`. */
  readonly platform: string
}

const described = (
  { command, pid }: { readonly pid?: number | undefined; readonly command?: string | undefined }
): string => pid === undefined ? "an unknown process" : `pid ${pid}${command === undefined ? "" : ` (${command})`}`

const nameOf = (pid: number) =>
  Effect.map(
    Effect.flatMap(ProcessTable, ({ commandName }) => commandName(pid)),
    (command) => described({ pid, command: Option.getOrUndefined(command) })
  )

/** The processes that hold the lock besides the wrapper, if the command has ended. */
const leftBehind = (record: LockFile.OwnerRecord.OwnerRecord, lockPath: string) =>
  Effect.gen(function*() {
    const child = childOf(record)
    const table = yield* ProcessTable
    if (child === undefined || (yield* table.liveness(child)) !== "Gone") return []
    const pids = yield* Effect.flatMap(OpenLockFiles, ({ holders }) => holders(lockPath))
    return yield* Effect.forEach(pids.filter((pid) => pid !== record.pid), nameOf)
  })

/**
 * Collects the facts about the owner in `status`. `None` if no process holds the lock, or if its owner is not `gateway exec`.
 *
 * @internal
 */
export const gather = ({ lock, owner }: Pick<Status, "lock" | "owner">) =>
  Effect.gen(function*() {
    if (lock.state !== "held" || owner === undefined) return Option.none<ExecFacts>()
    const record = Option.getOrUndefined(yield* LockFile.readOwner(lock.path))
    if (record === undefined || record.mode !== "exec" || record.instanceId !== owner.instanceId) {
      return Option.none<ExecFacts>()
    }
    const pids = owner.pidMeaning === "Alive" && owner.pid !== undefined ? [owner.pid] : []
    const family = yield* Effect.flatMap(ProcessTable, ({ tree }) => tree(pids))
    return Option.some<ExecFacts>({
      record,
      left: yield* leftBehind(record, lock.path),
      ports: yield* Effect.flatMap(PortOwners, ({ portsOf }) => portsOf(family.map(({ pid }) => pid))),
      platform: yield* HostPlatform
    })
  })

/**
 * The command line that starts this `gateway exec` with other flags. `command` adds the flags that select the gateway. Pure.
 *
 * @internal
 */
export const startCommand = (
  { port }: Pick<LockFile.OwnerRecord.OwnerRecord, "port">,
  command: (words: string) => string,
  flags?: string
): string =>
  `${
    command(["exec", ...(port === 0 ? ["--no-port"] : []), ...(flags === undefined ? [] : [flags])].join(" "))
  } -- <command>`

/** The command that starts the owner again: through systemd if it has a unit, otherwise by a stop and a new start. */
const restart = (
  { owner }: Pick<Status, "owner">,
  { record }: ExecFacts,
  command: (words: string) => string,
  flags?: string
): string =>
  owner?.unit === undefined
    ? `${command("stop")} && ${startCommand(record, command, flags)}`
    : `systemctl ${owner.unit.scope === "user" ? "--user " : ""}restart ${shellWord(owner.unit.name)}`

/** The finding about the processes that hold the lock. */
const judgeHolders = (
  status: Pick<Status, "lock" | "owner">,
  facts: ExecFacts,
  command: (words: string) => string
): Finding => {
  const { lock: { holders = [], path }, owner } = status
  const { left, platform, record } = facts
  const wrapper = `its wrapper (pid ${record.pid})`
  if (owner?.pidMeaning === "Gone") {
    return holders.length === 0
      ? error(
        "lock",
        `${path} is held, but ${wrapper} and the command have ended`,
        adviceFor(platform).showFileUsers(path)
      )
      : error(
        "lock",
        `${path} is held by ${
          holders.map(described).join(", ")
        }, which inherited it from the command; ${wrapper} and the command have ended`,
        command("stop")
      )
  }
  if (owner?.endedWrapper !== undefined) {
    return warning(
      "lock",
      `${path} is held by ${
        described(owner)
      }, but ${wrapper} has ended, so no process relays signals to the command or reports its end`,
      restart(status, facts, command)
    )
  }
  if (left.length > 0) {
    return warning(
      "lock",
      `${path}: the command of pid ${record.pid} has ended, but ${
        left.join(", ")
      } still runs and keeps the lock; run the command in the foreground`,
      command("stop")
    )
  }
  return ok("lock", `${path} is held by ${described(owner ?? {})} for its command, ${owner?.phase ?? "phase unknown"}`)
}

/**
 * The findings about the lock of an owner by `gateway exec`. `kernelRemedy` is the command that makes kernel locks available, if they
 * are not available to this process. Pure.
 *
 * @internal
 */
export const judgeLock = (
  status: Pick<Status, "lock" | "owner">,
  facts: ExecFacts,
  command: (words: string) => string,
  kernelRemedy: string | undefined
): ReadonlyArray<Finding> => [
  judgeHolders(status, facts, command),
  // Without kernel locks of its own, this process sees only the record of an owner that has a kernel lock.
  ...(status.lock.enforcement === "record" && facts.record.lock === "record"
    ? [
      warning(
        "lock",
        "only its record enforces the lock: a process that the command leaves behind does not keep the lock",
        kernelRemedy ?? restart(status, facts, command)
      )
    ]
    : [])
]

/**
 * How long a command may take to listen on its port without a finding. This is the default of `exec --start-timeout`, after which
 * `exec` itself logs a warning.
 */
const startTimeout = Duration.minutes(1)

const isYoung = ({ asOf, owner }: Pick<Status, "asOf" | "owner">): boolean =>
  owner?.since === undefined
  || asOf.epochMillis - owner.since.epochMillis <= Duration.toMillis(startTimeout)

/** The finding about a command that has not yet told systemd that it is ready. */
const judgeSilent = (
  status: Pick<Status, "asOf" | "owner">,
  who: string,
  command: (words: string) => string
): Finding => {
  const what = `${who} has not told systemd that it is ready (READY=1)`
  const unit = status.owner?.unit
  return isYoung(status)
    ? info("port", `${what}; it is still starting`)
    : warning(
      "port",
      `${what}; after --start-timeout, exec stops it`,
      unit === undefined
        ? command("status")
        : `journalctl ${unit.scope === "user" ? "--user-unit" : "-u"} ${shellWord(unit.name)} -n 50`
    )
}

/** The finding about a command that does not meet its rule: `port`, `notify` or `http:<path>`. */
const judgeUnready = (
  status: Pick<Status, "asOf" | "owner" | "health">,
  address: Address,
  listens: boolean,
  facts: ExecFacts,
  command: (words: string) => string
): Finding => {
  const { health, owner } = status
  const { ports, record: { ready } } = facts
  const url = toUrl(address)
  const who = `the command of ${described(owner ?? {})}`
  if (ready === "notify") return judgeSilent(status, who, command)
  const others = ports.filter((port) => port !== address.port)
  const what = !listens
    ? `${who} does not listen on ${url}${others.length === 0 ? "" : `; it listens on port ${others.join(" and ")}`}`
    : `${who} listens on ${url}, but is not ready by its rule ${ready ?? "none"}${
      health === undefined || owner?.phase === "starting" ? "" : `: it ${health.detail}`
    }`
  if (owner?.phase === "starting" && isYoung(status)) return info("port", `${what}; it is still starting`)
  const [other] = others
  return error(
    "port",
    what,
    !listens && other !== undefined
      ? restart(status, facts, command, `--port ${other}`)
      : listens && health?.detail.endsWith("HTTP 404") === true
      ? restart(status, facts, command, "--ready http:/<path>")
      : command("stop --force")
  )
}

/**
 * The findings about the port of an owner by `gateway exec`. Pure.
 *
 * @internal
 */
export const judgePort = (
  status: Pick<Status, "asOf" | "health" | "owner" | "port" | "reason" | "verdict">,
  facts: ExecFacts,
  command: (words: string) => string
): ReadonlyArray<Finding> => {
  const { owner, port, reason, verdict } = status
  const { ready = "none" } = facts.record
  if (port === undefined) return []
  const url = toUrl(port)
  const who = [...new Set(port.listeners.map(described))].join(", ")
  const listens = port.listeners.some(({ isOwner }) => isOwner)
  const waitsToLead = verdict === "standby"
  if (waitsToLead && port.state === "free") {
    return [ok("port", `${url} is free; the command starts once this host leads`)]
  }
  if (verdict === "foreign-listener" || waitsToLead) {
    return [
      error(
        "port",
        `${url} is in use by ${who === "" ? "a process not visible from here" : who}, not by the command of ${
          described(owner ?? {})
        }`,
        restart(status, facts, command, `--port ${BadPorts.nextAllowed(port.port)}`)
      )
    ]
  }
  if (verdict === "unhealthy" || (verdict === "starting" && ready !== "none")) {
    return [judgeUnready(status, port, listens, facts, command)]
  }
  if (verdict === "unknown") return [info("port", `${url}: ${reason}`)]
  if (listens) return [ok("port", `${url} is in use by the command: ${who}`)]
  return port.state === "free"
    ? [ok("port", `${url} is free; the command does not need it (its rule is ${ready})`)]
    : [
      info(
        "port",
        `${url} is in use by ${who === "" ? "a process not visible from here" : who}; the command does not need it`
      )
    ]
}
