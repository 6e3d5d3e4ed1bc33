/**
 * Finds the gateways that run as systemd system services, even if this user may not read the lock files of those gateways.
 *
 * Only root and the user that a service runs as can read the lock of its gateway. To other users, `/proc` does not show which
 * process has the gateway's port. So this module asks systemd which units exist, which user each one runs as, and where its state
 * directory is. The address comes from the unit's status (`STATUS=`), which the gateway itself sends to systemd.
 *
 * @since 0.1.0
 */
import * as Command from "@effect/platform/Command"
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import type { Address } from "../Address.ts"
import type { Holder } from "../GatewayLockError.ts"
import { isConfigLock } from "../host/OpenLockFiles.ts"
import { PlatformFolders } from "../host/PlatformFolders.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import { child, output } from "../internal/child.ts"
import { joinExecStart } from "../internal/unitProperties.ts"
import { lockFolder } from "../lock/LockPaths.ts"
import type { GatewayList } from "./GatewayList.ts"
import * as GatewayStatus from "./GatewayStatus.ts"

/**
 * One unit, as systemd describes it.
 *
 * @since 0.1.0
 * @category models
 */
export interface SystemService {
  /** `gateway-<profile>.service`. */
  readonly name: string
  readonly profile: string
  /** `active`, `activating`, `deactivating`, … (systemctl(1)). */
  readonly activeState: string
  readonly pid: number | undefined
  /** The user that the unit runs as, by name or number; `root` if the unit names none. */
  readonly user: string
  readonly stateDir: string | undefined
  /** The address that the service gives in the status that it sends to systemd. */
  readonly address: Address | undefined
  /** Whether the service runs a gateway, or another command by `gateway exec`. */
  readonly mode: "run" | "exec"
}

const properties = [
  "Id",
  "LoadState",
  "ActiveState",
  "MainPID",
  "User",
  "StateDirectory",
  "StatusText",
  "ExecStart"
]

/**
 * Reads the address from the status that a gateway sends to systemd once it listens. `gateway exec` sends such a status once its
 * command listens, with other words before the address.
 */
const addressIn = (statusText: string): Address | undefined => {
  const match = /(?:^|, )listening on ws:\/\/(?:\[([0-9a-fA-F:.]+)\]|([^:/\s]+)):(\d{1,5})$/.exec(statusText)
  const host = match?.[1] ?? match?.[2]
  return match === null || host === undefined ? undefined : { host, port: Number(match[3]) }
}

/**
 * Reads the output of `systemctl show`, which has one paragraph for each unit. Skips a unit that does not run a gateway of this
 * program, even if the name of the unit matches. Pure.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parse = (text: string): ReadonlyArray<SystemService> => {
  const found = new Map<string, SystemService>()
  for (const paragraph of joinExecStart(text).split(/\n{2,}/)) {
    const values = new Map(
      paragraph.split("\n").flatMap((line) => {
        const at = line.indexOf("=")
        return at === -1 ? [] : [[line.slice(0, at), line.slice(at + 1)] as const]
      })
    )
    const value = (property: string) => values.get(property) ?? ""
    const [name, profile = ""] = /^gateway-([a-z0-9][a-z0-9_-]{0,63})\.service$/.exec(value("Id")) ?? []
    // In a unit of `gateway exec`, the words of the command follow ` -- `. They can contain the same flags.
    const [words = ""] = value("ExecStart").split(" -- ", 1)
    if (name === undefined || value("LoadState") !== "loaded") continue
    // `gateway service` writes these flags into every unit. A unit without these flags does not run this program.
    const mode = (["run", "exec"] as const).find((mode) => words.includes(` ${mode} --profile ${profile} `))
    if (mode === undefined || !words.includes(" --supervisor systemd")) continue
    const pid = Number(value("MainPID"))
    const [stateDirectory = ""] = value("StateDirectory").split(" ")
    const given = / --state-dir (\/.*?) (?:--|;)/.exec(words)?.[1]
    found.set(name, {
      name,
      profile,
      activeState: value("ActiveState"),
      pid: Number.isSafeInteger(pid) && pid > 0 ? pid : undefined,
      user: value("User") === "" ? "root" : value("User"),
      stateDir: stateDirectory === "" ? given : NodePath.posix.join("/var/lib", stateDirectory),
      address: addressIn(value("StatusText")),
      mode
    })
  }
  return [...found.values()]
}

/** Whether a service has a process, will soon have one, or has just had one. */
const isRunning = ({ activeState }: SystemService): boolean => !["inactive", "failed", ""].includes(activeState)

/**
 * The running gateway units of systemd's system manager, for all profiles. Empty if systemd does not run, or does not answer
 * within three seconds.
 *
 * @since 0.1.0
 * @category reading
 */
export const running: Effect.Effect<
  ReadonlyArray<SystemService>,
  never,
  FileSystem.FileSystem | CommandExecutor.CommandExecutor
> = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  // sd_booted(3) checks the same folder to find out whether systemd runs.
  if (!(yield* Effect.orElseSucceed(fs.exists("/run/systemd/system"), () => false))) return []
  const show = child(
    "systemctl",
    "show",
    ...properties.map((property) => `--property=${property}`),
    "gateway-*.service"
  )
  // If the service manager cannot be reached from here, the result is empty, as on a machine without systemd.
  const text = yield* Effect.orElseSucceed(output(Command.stderr(show, "pipe"), Duration.seconds(3)), () => "")
  return parse(text).filter(isRunning)
})

// ---------------------------------------------------------------------------
// conversion to a `Holder`: the form in which errors name a gateway
// ---------------------------------------------------------------------------

const toHolder = (service: SystemService): Effect.Effect<Holder, never, ProcessTable> =>
  Effect.gen(function*() {
    const table = yield* ProcessTable
    const command = service.pid === undefined ? Option.none<string>() : yield* table.commandName(service.pid)
    return {
      ...(service.pid === undefined ? {} : { pid: service.pid, pidMeaning: "Alive" as const }),
      ...(Option.isSome(command) ? { command: command.value } : {}),
      ...(service.stateDir === undefined ? {} : { stateDir: service.stateDir }),
      ...service.address,
      supervisor: "systemd",
      unit: { name: service.name, scope: "system" }
    }
  })

/**
 * The service whose status says that it listens on a port. The host is not compared, because at most one gateway of this machine
 * uses a port, whichever host it binds.
 */
const listeningOn = (services: ReadonlyArray<SystemService>, port: number): SystemService | undefined =>
  services.find(({ address }) => address?.port === port)

/**
 * The system service whose status says that it listens on a port, as the `Holder` that errors contain.
 *
 * @since 0.1.0
 * @category reading
 */
export const holderOn = (
  port: number
): Effect.Effect<
  Option.Option<Holder>,
  never,
  FileSystem.FileSystem | CommandExecutor.CommandExecutor | ProcessTable
> =>
  Effect.gen(function*() {
    const service = listeningOn(yield* running, port)
    return service === undefined ? Option.none() : Option.some(yield* toHolder(service))
  })

// ---------------------------------------------------------------------------
// conversion to a status
// ---------------------------------------------------------------------------

type Status = GatewayStatus.GatewayStatus

const describe = ({ activeState, name, profile, stateDir, user }: SystemService): NonNullable<Status["service"]> => ({
  unit: { name, scope: "system" },
  profile,
  user,
  activeState,
  ...(stateDir === undefined ? {} : { stateDir })
})

/**
 * The verdict on a service, from the state that systemd reports and the result of the health probe of its port. A command of
 * `gateway exec` has no `/healthz`, and the rule of its health is in a lock file that this user cannot read. So such a command
 * counts as running if systemd says so and its port is not free. Pure.
 */
const judge = (
  { activeState, mode, name }: SystemService,
  health: Status["health"],
  port: Status["port"]
): GatewayStatus.Judgement => {
  if (activeState === "activating") return { verdict: "starting", reason: `systemd is starting ${name}` }
  if (activeState === "deactivating") return { verdict: "draining", reason: `systemd is stopping ${name}` }
  if (mode === "exec") {
    return port?.state === "free"
      ? { verdict: "unhealthy", reason: `${name} is ${activeState}, but no program listens on its port` }
      : { verdict: "running", reason: `systemd says that ${name} is ${activeState}` }
  }
  return health?.healthy === true
    ? { verdict: "running", reason: `${name} is ${activeState}, and a healthy gateway answers on its port` }
    : { verdict: "unhealthy", reason: `${name} is ${activeState}: ${health?.detail ?? "its port is unknown"}` }
}

/**
 * The path of the lock file of a service. `None` if this user cannot read the folder of the lock file.
 *
 * @since 0.1.0
 * @category reading
 */
export const lockOf = (
  { stateDir }: SystemService
): Effect.Effect<Option.Option<string>, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    if (stateDir === undefined) return Option.none<string>()
    const fs = yield* FileSystem.FileSystem
    const folder = lockFolder({ stateDir: yield* fs.realPath(stateDir) })
    const path = (yield* fs.readDirectory(folder)).map((name) => NodePath.join(folder, name)).find(isConfigLock)
    return Option.fromNullable(path)
  }).pipe(Effect.orElseSucceed(() => Option.none<string>()))

/**
 * The status of a service. If this user cannot read the service's lock, the status is derived from systemd and the port.
 * `asked` is the status that `GatewayStatus.inspect` found, which does not ask systemd.
 */
const statusOf = (service: SystemService, asked: Status, options: GatewayStatus.LookOptions) =>
  Effect.gen(function*() {
    const lockPath = yield* lockOf(service)
    if (Option.isSome(lockPath)) {
      const { profile: _, stateLock, ...seen } = yield* GatewayStatus.inspectLock(lockPath.value, options)
      const isOther = stateLock !== undefined && stateLock.owner?.instanceId !== seen.owner?.instanceId
      return {
        ...seen,
        profile: service.profile,
        service: describe(service),
        ...(isOther ? { stateLock } : {}),
        warnings: asked.warnings
      } satisfies Status
    }
    const { address } = service
    // If `asked` contains a probe of the port that the service reports, that probe is used. Otherwise that port is probed here.
    const probed = address === undefined || asked.port?.port === address.port
      ? asked
      : yield* GatewayStatus.inspect({
        ...options,
        ...address,
        configPath: asked.configPath ?? "",
        stateDir: asked.stateDir
      })
    // Without the address of a command, the probed port is the one of the settings. Another program may have that port.
    const port = service.mode === "exec" && address === undefined ? undefined : probed.port
    const health = service.mode === "exec" ? undefined : probed.health
    const { reason, verdict } = judge(service, health, port)
    return {
      version: 1,
      asOf: asked.asOf,
      verdict,
      reason,
      profile: service.profile,
      stateDir: service.stateDir ?? asked.stateDir,
      lock: {
        path: lockFolder({ stateDir: service.stateDir ?? asked.stateDir }),
        state: "unknown",
        reason: `only root and ${service.user} may read that folder`
      },
      owner: yield* toHolder(service),
      service: describe(service),
      ...(port === undefined ? {} : { port }),
      ...(health === undefined ? {} : { health }),
      warnings: asked.warnings
    } satisfies Status
  })

const canonical = (path: string): Effect.Effect<string, never, FileSystem.FileSystem> =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => Effect.orElseSucceed(fs.realPath(path), () => path))

/**
 * The service that the settings refer to. If the settings use their profile's default state directory, this is the service of
 * that profile. Otherwise it is the service with the same state directory.
 */
const serviceOfSettings = (
  services: ReadonlyArray<SystemService>,
  { profile, stateDir }: Pick<GatewayStatus.InspectOptions, "profile" | "stateDir">
): Effect.Effect<SystemService | undefined, never, FileSystem.FileSystem | PlatformFolders> =>
  Effect.gen(function*() {
    if (services.length === 0) return undefined
    const folders = yield* PlatformFolders
    const usual = profile === undefined ? Option.none() : Either.getRight(folders.stateDir(profile))
    const isOfProfile = Option.isSome(usual) && (yield* canonical(usual.value)) === stateDir
    for (const service of services) {
      if (isOfProfile && service.profile === profile) return service
      if (service.stateDir === undefined) continue
      // With `DynamicUser=`, systemd keeps the state in /var/lib/private, which only root may enter, and links to it from
      // /var/lib. Other users cannot resolve that link, so the paths are compared as text.
      if (service.stateDir === stateDir.replace(/^\/var\/lib\/private\//, "/var/lib/")) return service
      if ((yield* canonical(service.stateDir)) === stateDir) return service
    }
    return undefined
  })

/**
 * The running systemd system service that the settings select. `None` if there is no such service.
 *
 * @since 0.1.0
 * @category reading
 */
export const find = (
  settings: Pick<GatewayStatus.InspectOptions, "profile" | "stateDir">
): Effect.Effect<
  Option.Option<SystemService>,
  never,
  FileSystem.FileSystem | CommandExecutor.CommandExecutor | PlatformFolders
> => Effect.map(Effect.flatMap(running, (services) => serviceOfSettings(services, settings)), Option.fromNullable)

type Needs = GatewayStatus.Requirements | CommandExecutor.CommandExecutor

/** Whether the status found no process that holds the lock of these settings. Such a status names no running gateway. */
const hasNoHolder = ({ lock, owner }: Status): boolean =>
  lock.state === "absent" || lock.state === "left" || (lock.state === "unknown" && owner === undefined)

/**
 * Like `GatewayStatus.inspect`, but also finds system services. If no process holds the lock of these settings, the result
 * describes the systemd system service of the same profile. If there is no such service, and a system service of another profile
 * listens on the port of these settings, the result names that service.
 *
 * If the settings give a state directory, a service matches only if it uses that directory.
 *
 * @since 0.1.0
 * @category reading
 */
export const inspect = (options: GatewayStatus.InspectOptions): Effect.Effect<Status, never, Needs> =>
  Effect.gen(function*() {
    const asked = yield* GatewayStatus.inspect(options)
    if (!hasNoHolder(asked)) return asked
    const services = yield* running
    const own = yield* serviceOfSettings(services, options)
    if (own !== undefined) return yield* statusOf(own, asked, options)
    const { port } = asked
    const other = port === undefined || port.state === "free" ? undefined : listeningOn(services, port.port)
    return other === undefined ? asked : {
      ...asked,
      service: describe(other),
      ...(asked.verdict === "foreign-listener"
        ? { reason: `${other.name} has the port, but does not hold this lock` }
        : {})
    }
  })

/**
 * Adds the system services that are missing from a list. A running service is missing if no owner in the list has its pid.
 *
 * @since 0.1.0
 * @category reading
 */
export const addTo = (
  list: GatewayList,
  options: GatewayStatus.LookOptions
): Effect.Effect<GatewayList, never, Needs> =>
  Effect.gen(function*() {
    const known = new Set(list.gateways.map(({ owner }) => owner?.pid))
    const missing = (yield* running).filter(({ pid }) => pid !== undefined && !known.has(pid))
    const added = yield* Effect.forEach(missing, (service) =>
      Effect.gen(function*() {
        const { address, profile, stateDir = "" } = service
        const asked = yield* GatewayStatus.inspect({
          ...options,
          host: address?.host ?? "",
          port: address?.port ?? 0,
          profile,
          configPath: "",
          stateDir
        })
        return yield* statusOf(service, asked, options)
      }))
    return { ...list, gateways: [...list.gateways, ...added] }
  })
