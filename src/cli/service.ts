/**
 * `gateway service print|install|uninstall`: this gateway in the hands of a service manager.
 */
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as NodePath from "node:path"
import { HostPlatform } from "../host/HostPlatform.ts"
import * as PlatformFolders from "../host/PlatformFolders.ts"
import { ancestors } from "../internal/ancestors.ts"
import { variable } from "../internal/environment.ts"
import { hasModeBits } from "../internal/permissions.ts"
import { type GatewayConfig, type Setting, settings } from "../settings/GatewayConfig.ts"
import * as ServiceDefinition from "../supervisor/ServiceDefinition.ts"
import type { ServiceFailed } from "../supervisor/ServiceFailed.ts"
import * as ServiceManager from "../supervisor/ServiceManager.ts"
import { type Manager, managers, type ServiceOptions } from "../supervisor/ServiceOptions.ts"
import type { ServiceFolders } from "../supervisor/ServiceSteps.ts"
import * as StablePaths from "../supervisor/StablePaths.ts"
import { stateDirectoryName, systemFolders, systemStateDir } from "../supervisor/SystemdUnit.ts"
import { UsageError } from "./CommandLine.ts"
import { notice } from "./Notice.ts"
import { type OutputFailed, print } from "./Stdout.ts"

export interface ServiceCommand {
  readonly action: "print" | "install" | "uninstall"
  /** As typed; `undefined`: the platform's own. */
  readonly manager: string | undefined
  /** For the whole machine instead of this user. */
  readonly system: boolean
  /** Who runs a service of the system, as typed. */
  readonly user: string | undefined
  readonly dryRun: boolean
  readonly config: Pick<
    GatewayConfig,
    "profile" | "stateDir" | "drainTimeout" | "health" | "port" | "tokenFile"
  >
  /** The flags that were given: the service is started with them, and with nothing else. */
  readonly flags: ReadonlyMap<string, string>
  /** The absolute path of node. */
  readonly execPath: string
  /** The absolute path of `dist/main.js`. */
  readonly scriptPath: string
  /** As `process.platform`. */
  readonly platform: string
  /** Default: who we are. */
  readonly uid?: number | undefined
  /** Where the managers keep what is the whole machine's. */
  readonly folders?: Pick<ServiceFolders, "systemdSystem" | "launchDaemons"> | undefined
}

const platformManagers: Readonly<Record<string, Manager>> = {
  linux: "systemd",
  darwin: "launchd",
  win32: "schtasks"
}

const isManager = (name: string): name is Manager => managers.some((manager) => manager === name)

const chooseManager = (
  command: Pick<ServiceCommand, "manager" | "platform">
): Effect.Effect<Manager, UsageError> => {
  const name = command.manager ?? platformManagers[command.platform]
  if (name !== undefined && isManager(name)) return Effect.succeed(name)
  const known = managers.join(", ")
  return new UsageError({
    reason: name === undefined
      ? `no service manager is known for ${command.platform}; name one with --manager: ${known}`
      : `unknown service manager ${JSON.stringify(name)}; managers: ${known}`
  })
}

/**
 * The folders that a service's settings are looked for in: a system unit has those of the system, and not those of the
 * user who installs it.
 */
export const foldersOf = (
  command: Pick<ServiceCommand, "manager" | "platform" | "system">
): Option.Option<PlatformFolders.PlatformFolders["Type"]> =>
  command.system && (command.manager ?? platformManagers[command.platform]) === "systemd"
    ? Option.some(PlatformFolders.make(systemFolders))
    : Option.none()

const paths: ReadonlySet<string | undefined> = new Set([
  settings.configPath.flag,
  settings.stateDir.flag,
  settings.tokenFile.flag
])

/** A manager starts its services in another folder. */
const absolutePaths = (flags: ReadonlyMap<string, string>): ReadonlyMap<string, string> =>
  new Map([...flags].map(([flag, value]) => [flag, paths.has(flag) ? NodePath.resolve(value) : value]))

const given = (name: string): Effect.Effect<string | undefined> => Effect.map(variable(name), Option.getOrUndefined)

/** The XDG base directory specification: a path that is not absolute is to be ignored. */
const givenPath = (name: string): Effect.Effect<string | undefined> =>
  Effect.map(given(name), (path) => path !== undefined && NodePath.isAbsolute(path) ? path : undefined)

/** A user's own service is below the home folder; a service of the whole machine, or one that is only printed, needs none. */
const homeOf = (needed: boolean, platform: string): Effect.Effect<string, PlatformFolders.FolderUnknown> =>
  Effect.flatMap(
    PlatformFolders.home(platform),
    Option.match({
      onSome: Effect.succeed,
      onNone: () =>
        needed
          ? new PlatformFolders.FolderUnknown({
            what: "place for a user's service",
            advice: "set HOME, or give --system"
          })
          : Effect.succeed("/")
    })
  )

/** At whose logon a user's task starts. */
const windowsUser = Effect.gen(function*() {
  const name = yield* given("USERNAME")
  const domain = yield* given("USERDOMAIN")
  return name === undefined || domain === undefined ? name : `${domain}\\${name}`
})

const unseen: ReadonlyArray<Setting<unknown>> = Object.values(settings).filter((setting) =>
  // Both are always written into the definition.
  setting !== settings.profile && setting !== settings.supervisor
)

/** What holds here and not for the service: a manager does not hand our environment on. */
const warnOfEnvironment = (flags: ReadonlyMap<string, string>) =>
  Effect.forEach(unseen, (setting) =>
    Effect.gen(function*() {
      if (setting.env === undefined || (setting.flag !== undefined && flags.has(setting.flag))) return
      if ((yield* given(setting.env)) === undefined) return
      yield* notice(
        `${setting.env} is set here, and the service will not see it; ${
          setting === settings.token
            ? `put the token into a file and give --${settings.tokenFile.flag}`
            : setting.flag === undefined
            ? "put it into the config file"
            : `give --${setting.flag} as well`
        }`
      )
    }), { discard: true })

const isRoot = (user: string | undefined): boolean => user === "root" || user === "0"

/** What systemd and launchd take for the name of a user; numbers included. */
const userName = /^[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?$/

/** A user and a state directory that the service could not be run with. */
const checkUser = (
  { user }: Pick<ServiceCommand, "user">,
  manager: Manager,
  service: ServiceOptions
): Effect.Effect<void, UsageError> => {
  if (user !== undefined && manager !== "schtasks" && !userName.test(user)) {
    return new UsageError({ reason: `--user ${JSON.stringify(user)} is not the name of a user`, command: "service" })
  }
  if (manager !== "systemd" || service.scope !== "system" || user !== undefined) return Effect.void
  const stateDir = systemStateDir(service)
  return Option.isSome(stateDirectoryName(stateDir)) ? Effect.void : new UsageError({
    reason:
      `without --user the service can write only below /var/lib, and not in ${stateDir}; leave --state-dir out, or give --user <name>`,
    command: "service"
  })
}

/** Whether every user may read a file: itself, and every folder on the way. Unknown for one that is not there. */
const isReadableByAll = (path: string) =>
  Effect.gen(function*() {
    if (!hasModeBits(yield* HostPlatform)) return true
    const fs = yield* FileSystem.FileSystem
    const real = yield* fs.realPath(path)
    const { mode } = yield* fs.stat(real)
    let isReadable = (mode & 0o004) !== 0
    for (const folder of ancestors(real)) {
      if (!isReadable) break
      isReadable = ((yield* fs.stat(folder)).mode & 0o001) !== 0
    }
    return isReadable
  }).pipe(Effect.orElseSucceed(() => true))

/** What the operator should know of the service's user. */
const warnOfUser = (manager: Manager, service: ServiceOptions) =>
  Effect.gen(function*() {
    if (service.scope !== "system") return
    const { user } = service
    if (manager === "systemd" && user === undefined) {
      const files = [service.execPath, service.scriptPath, service.args.get("config")]
      for (const path of files) {
        if (path === undefined || (yield* isReadableByAll(path))) continue
        yield* notice(
          `the service runs as a user of its own, which cannot read ${path}; put it where everybody may read it, such as /opt, or give --user <name>`
        )
      }
    }
    if (isRoot(user)) {
      yield* notice(
        `the service runs as root: an attacker who breaks into the gateway has the whole machine; ${
          manager === "systemd" ? "without --user it runs as a user of its own" : "name another user with --user"
        }`
      )
    }
    if (user === undefined && manager === "launchd") yield* notice("the service runs as root; name a user with --user")
    if (user === undefined && manager === "schtasks") {
      yield* notice("the service runs as LocalSystem; name a user with --user")
    }
  })

const warnOfPaths = (service: ServiceOptions) =>
  Effect.flatMap(
    StablePaths.advise(service),
    Effect.forEach((advice) => notice(StablePaths.describe(advice)), { discard: true })
  )

/** The flags that the service is started with. */
const argsOf = (
  { config, flags }: Pick<ServiceCommand, "config" | "flags">,
  isSystemUnit: boolean
): Effect.Effect<ReadonlyMap<string, string>> =>
  Effect.gen(function*() {
    const args = absolutePaths(flags)
    const { env = "", flag = "" } = settings.tokenFile
    // A credential of the unit, as one that was given as a flag is: the service's user may not be able to read the file.
    return isSystemUnit && Option.isSome(config.tokenFile) && !args.has(flag) && (yield* given(env)) === undefined
      ? new Map([...args, [flag, config.tokenFile.value]])
      : args
  })

/**
 * Prints the definition on stdout, or installs or uninstalls it, telling every step on stdout.
 */
export const service = (
  command: ServiceCommand
): Effect.Effect<
  void,
  UsageError | PlatformFolders.FolderUnknown | ServiceFailed | OutputFailed,
  FileSystem.FileSystem | CommandExecutor.CommandExecutor
> =>
  Effect.gen(function*() {
    const manager = yield* chooseManager(command)
    // A step is taken though nobody can be told of it; that nobody was told is the failure in the end.
    const unwritten = yield* Ref.make(Option.none<OutputFailed>())
    const written = Effect.flatten(
      Effect.map(Ref.get(unwritten), Option.match({ onNone: () => Effect.void, onSome: Effect.fail }))
    )
    const { config, user } = command
    const isSystemUnit = command.system && manager === "systemd"
    const args = yield* argsOf(command, isSystemUnit)
    const configHome = yield* givenPath("XDG_CONFIG_HOME")
    const options: ServiceManager.ServiceManagerOptions = {
      manager,
      service: {
        profile: config.profile,
        scope: command.system ? "system" : "user",
        execPath: command.execPath,
        scriptPath: command.scriptPath,
        args,
        // Not as resolved here: the way to it can lead through a folder that only systemd uses.
        stateDir: isSystemUnit
          ? systemStateDir({ args, profile: config.profile })
          : config.stateDir,
        drainTimeout: config.drainTimeout,
        health: config.health,
        port: config.port,
        user: manager === "schtasks" && !command.system ? yield* windowsUser : user
      },
      folders: {
        ...command.folders,
        home: yield* homeOf(
          !command.system && command.action !== "print" && (manager !== "systemd" || configHome === undefined),
          command.platform
        ),
        configHome
      },
      uid: command.uid ?? process.getuid?.(),
      dryRun: command.dryRun,
      report: (line) => Effect.catchAll(print(line), (error) => Ref.set(unwritten, Option.some(error)))
    }
    if (command.action === "uninstall") return yield* Effect.zipRight(ServiceManager.uninstall(options), written)
    yield* checkUser(command, manager, options.service)
    yield* warnOfEnvironment(command.flags)
    yield* warnOfUser(manager, options.service)
    yield* warnOfPaths(options.service)
    if (command.action === "install") return yield* Effect.zipRight(ServiceManager.install(options), written)
    yield* ServiceManager.checkWritable(options)
    const definition = ServiceDefinition.make(manager, options.service)
    if (definition.encoding === "utf-16le") {
      yield* notice(
        "schtasks reads this as UTF-16 with a byte order mark; save it so, or use service install"
      )
    }
    yield* print(definition.text.trimEnd())
  })
