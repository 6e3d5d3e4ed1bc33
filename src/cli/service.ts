/**
 * `gateway service`: the definition that makes a service manager run this gateway, and the manager's own commands for it.
 */
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as NodePath from "node:path"
import * as ChildProgram from "../host/ChildProgram.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import * as PlatformFolders from "../host/PlatformFolders.ts"
import * as ReceivedSignals from "../host/ReceivedSignals.ts"
import { ancestors } from "../internal/ancestors.ts"
import { variable } from "../internal/environment.ts"
import { hasModeBits } from "../internal/permissions.ts"
import {
  type GatewayConfig,
  releaseTimeout,
  type Setting,
  type SettingInvalid,
  settings
} from "../settings/GatewayConfig.ts"
import * as ServiceDefinition from "../supervisor/ServiceDefinition.ts"
import type { ServiceFailed } from "../supervisor/ServiceFailed.ts"
import * as ServiceManager from "../supervisor/ServiceManager.ts"
import { type Manager, managers, type ServiceOptions } from "../supervisor/ServiceOptions.ts"
import type { ServiceFolders } from "../supervisor/ServiceSteps.ts"
import * as StablePaths from "../supervisor/StablePaths.ts"
import { stateDirectoryName, systemFolders, systemStateDir } from "../supervisor/SystemdUnit.ts"
import { type ExecCommandLine, UsageError } from "./CommandLine.ts"
import { isControlAction, type ServiceAction } from "./commands.ts"
import type { ExecUnavailable } from "./execFlags.ts"
import type { Answered, EndedBySignal } from "./ExitStatus.ts"
import { notice } from "./Notice.ts"
import { control } from "./serviceControl.ts"
import { guardedCommand } from "./serviceExec.ts"
import { type OutputFailed, print } from "./Stdout.ts"

export interface ServiceCommand {
  readonly action: ServiceAction
  /** The service manager, in the form that was typed. `undefined`: the manager of the platform. */
  readonly manager: string | undefined
  /** Whether the service is for the whole machine instead of this user. */
  readonly system: boolean
  /** The user that a system service runs as, in the form that was typed. */
  readonly user: string | undefined
  readonly dryRun: boolean
  readonly config: Pick<
    GatewayConfig,
    "profile" | "stateDir" | "drainTimeout" | "health" | "port" | "tokenFile" | "lease" | "configName"
  >
  /** The command that the service runs by `gateway exec`. `undefined`: the service runs a gateway. */
  readonly exec?: ExecCommandLine | undefined
  /** With `logs`: keep showing new lines. Default `false`. */
  readonly follow?: boolean | undefined
  /** With `logs`: the number of lines, as typed. */
  readonly lines?: string | undefined
  /** The flags of this command line. The service starts the gateway with the same flags. */
  readonly flags: ReadonlyMap<string, string>
  /** The absolute path of Node. */
  readonly execPath: string
  /** The absolute path of `dist/main.js`. */
  readonly scriptPath: string
  /** As `process.platform`. */
  readonly platform: string
  /** The ID of the user who installs the service. Default: the user of this process. */
  readonly uid?: number | undefined
  /** The folders in which the service managers look for the definitions of system services. */
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
 * The folders that contain the default config file and the default state directory of a service. A systemd system unit uses the
 * folders of the system, and not those of the user who installs it. `None` stands for the folders of this user.
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
  settings.tokenFile.flag,
  settings["lease.urlFile"].flag
])

/** Makes paths absolute, because a service manager starts its services in another working directory. */
const absolutePaths = (flags: ReadonlyMap<string, string>): ReadonlyMap<string, string> =>
  new Map([...flags].map(([flag, value]) => [flag, paths.has(flag) ? NodePath.resolve(value) : value]))

const given = (name: string): Effect.Effect<string | undefined> => Effect.map(variable(name), Option.getOrUndefined)

/** Reads a path from an environment variable. The XDG base directory specification says to ignore a relative path. */
const givenPath = (name: string): Effect.Effect<string | undefined> =>
  Effect.map(given(name), (path) => path !== undefined && NodePath.isAbsolute(path) ? path : undefined)

/**
 * The home folder. A service of a user is installed below it. A system service, or a definition that is only printed, needs no
 * home folder.
 */
const homeOf = (needed: boolean, platform: string): Effect.Effect<string, PlatformFolders.FolderUnknown> =>
  Effect.flatMap(
    PlatformFolders.home(platform),
    Option.match({
      onSome: Effect.succeed,
      onNone: () =>
        needed
          ? new PlatformFolders.FolderUnknown({
            what: "folder for a user's service",
            advice: "set HOME, or use --system"
          })
          : Effect.succeed("/")
    })
  )

/** The user of this command on Windows. The scheduled task of a user's service starts when that user logs on. */
const windowsUser = Effect.gen(function*() {
  const name = yield* given("USERNAME")
  const domain = yield* given("USERDOMAIN")
  return name === undefined || domain === undefined ? name : `${domain}\\${name}`
})

const unseen: ReadonlyArray<Setting<unknown>> = Object.values(settings).filter((setting) =>
  // The service definition always contains these two settings, so the service gets them without this environment.
  setting !== settings.profile && setting !== settings.supervisor
)

/** Warns of settings in the environment of this command. A service manager does not pass this environment to the service. */
const warnOfEnvironment = ({ exec, flags }: Pick<ServiceCommand, "exec" | "flags">) =>
  Effect.forEach(unseen, (setting) =>
    Effect.gen(function*() {
      // `exec` does not use the token, and does not pass it to the command.
      if (exec !== undefined && setting === settings.token) return
      if (setting.env === undefined || (setting.flag !== undefined && flags.has(setting.flag))) return
      if ((yield* given(setting.env)) === undefined) return
      yield* notice(
        `${setting.env} is set in this environment, but not for the service; ${
          setting === settings.token
            ? `put the token into a file and use --${settings.tokenFile.flag}`
            : setting === settings["lease.url"]
            ? `put the URL into a file and use --${settings["lease.urlFile"].flag}`
            : setting.flag === undefined
            ? "set it in the config file"
            : `use --${setting.flag}`
        }`
      )
    }), { discard: true })

const isRoot = (user: string | undefined): boolean => user === "root" || user === "0"

/** The user names that systemd and launchd accept. A user ID is accepted as well. */
const userName = /^[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?$/

/** Refuses a user or a state directory with which the service could not run. */
const checkUser = (
  { user }: Pick<ServiceCommand, "user">,
  manager: Manager,
  service: ServiceOptions
): Effect.Effect<void, UsageError> => {
  if (user !== undefined && manager !== "schtasks" && !userName.test(user)) {
    return new UsageError({ reason: `--user ${JSON.stringify(user)} is not a valid user name`, command: "service" })
  }
  if (manager !== "systemd" || service.scope !== "system" || user !== undefined) return Effect.void
  const stateDir = systemStateDir(service)
  return Option.isSome(stateDirectoryName(stateDir)) ? Effect.void : new UsageError({
    reason:
      `without --user the service can write only below /var/lib, not in ${stateDir}; omit --state-dir, or use --user <name>`,
    command: "service"
  })
}

/** Whether every user may read a file and enter each folder above it. `true` if unknown, for example for an absent file. */
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

/** Warns about the user that the service runs as: root, or a user that cannot read the program or the config file. */
const warnOfUser = (manager: Manager, service: ServiceOptions) =>
  Effect.gen(function*() {
    if (service.scope !== "system") return
    const { exec, user } = service
    if (manager === "systemd" && user === undefined) {
      const files = [
        service.execPath,
        service.scriptPath,
        service.args.get("config"),
        exec?.program,
        exec?.workingDirectory
      ]
      for (const path of files) {
        if (path === undefined || (yield* isReadableByAll(path))) continue
        yield* notice(
          `the service runs as its own user, which cannot read ${path}; move it to a folder that every user can read, such as /opt, or use --user <name>`
        )
      }
    }
    if (manager === "systemd" && user === undefined && exec !== undefined) {
      const hidden = [exec.program, exec.workingDirectory].find((path) => /^\/(?:var\/)?tmp(?:\/|$)/.test(path))
      if (hidden !== undefined) {
        yield* notice(
          `the service runs as its own user, with a /tmp and /var/tmp of its own, in which ${hidden} is missing; move it, or use --user <name>`
        )
      }
    }
    if (isRoot(user)) {
      yield* notice(
        `the service runs as root: an attacker who breaks into the ${
          exec === undefined ? "gateway" : "command"
        } controls the whole machine; ${
          manager === "systemd" ? "without --user it runs as its own user" : "name another user with --user"
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

/**
 * Returns the flags of this command line, with absolute paths. If the config file names a file with a secret, that file becomes the
 * value of its flag, so that systemd passes it to a system unit as a credential. The service's user may not be able to read the file.
 */
const argsWithSecrets = ({ config, exec, flags }: Pick<ServiceCommand, "config" | "exec" | "flags">) =>
  Effect.gen(function*() {
    const args = new Map(absolutePaths(flags))
    const leaseUrlFile = [settings["lease.urlFile"], config.lease.urlFile] as const
    const files = exec === undefined ? [[settings.tokenFile, config.tokenFile] as const, leaseUrlFile] : [leaseUrlFile]
    for (const [{ env = "", flag = "" }, path] of files) {
      if (Option.isSome(path) && !args.has(flag) && (yield* given(env)) === undefined) args.set(flag, path.value)
    }
    return args
  })

/**
 * Returns the flags with which a systemd system unit starts `gateway exec`. The command inherits the environment of the unit. So the
 * unit does not set `XDG_CONFIG_HOME` and `XDG_STATE_HOME`, and names the config file and the state directory by flags.
 */
const argsOfExec = (command: Pick<ServiceCommand, "config" | "exec" | "flags">) =>
  Effect.gen(function*() {
    const { config } = command
    const fs = yield* FileSystem.FileSystem
    const args = yield* argsWithSecrets(command)
    const { configPath, stateDir } = settings
    const hasConfig = yield* Effect.orElseSucceed(fs.exists(config.configName), () => false)
    return new Map([
      ...(hasConfig && configPath.flag !== undefined ? [[configPath.flag, config.configName] as const] : []),
      ...(stateDir.flag === undefined
        ? []
        : [[stateDir.flag, systemStateDir({ args, profile: config.profile })] as const]),
      ...args
    ])
  })

/** Returns the flags with which the service starts the gateway, or the command of `exec`. */
const argsOf = (command: Pick<ServiceCommand, "config" | "exec" | "flags">, isSystemUnit: boolean) => {
  if (!isSystemUnit) return Effect.succeed(absolutePaths(command.flags))
  return command.exec === undefined ? argsWithSecrets(command) : argsOfExec(command)
}

type Needs =
  | FileSystem.FileSystem
  | CommandExecutor.CommandExecutor
  | ChildProgram.ChildProgram
  | ReceivedSignals.ReceivedSignals

/** Provides the services that run a command of the service manager in the foreground. */
export const live = <A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E, Exclude<Exclude<R, ChildProgram.ChildProgram>, ReceivedSignals.ReceivedSignals>> =>
  self.pipe(
    Effect.provideService(ChildProgram.ChildProgram, ChildProgram.live),
    Effect.provideService(ReceivedSignals.ReceivedSignals, ReceivedSignals.live)
  )

/**
 * Prints the service definition on stdout, or installs or uninstalls it, with a line on stdout for each step. Or runs a command of the
 * service manager.
 */
export const service = (
  command: ServiceCommand
): Effect.Effect<
  Answered | EndedBySignal | void,
  UsageError | PlatformFolders.FolderUnknown | SettingInvalid | ExecUnavailable | ServiceFailed | OutputFailed,
  Needs
> =>
  Effect.gen(function*() {
    const manager = yield* chooseManager(command)
    // If a line cannot be written to stdout, the installation continues, because it must not stop half-way. The command
    // then fails with that error at the end.
    const unwritten = yield* Ref.make(Option.none<OutputFailed>())
    const written = Effect.flatten(
      Effect.map(Ref.get(unwritten), Option.match({ onNone: () => Effect.void, onSome: Effect.fail }))
    )
    const { config, user } = command
    const isSystemUnit = command.system && manager === "systemd"
    const exec = command.exec === undefined ? undefined : yield* guardedCommand(command.exec, manager)
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
        // Symbolic links in this path are not resolved. With a dynamic user, systemd keeps the state directory in
        // /var/lib/private, and makes a symbolic link to it in /var/lib. The unit must name the path in /var/lib.
        stateDir: isSystemUnit
          ? systemStateDir({ args, profile: config.profile })
          : config.stateDir,
        drainTimeout: config.drainTimeout,
        releaseTimeout: releaseTimeout(config.lease),
        health: config.health,
        port: config.port,
        user: manager === "schtasks" && !command.system ? yield* windowsUser : user,
        exec
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
    const { action } = command
    if (isControlAction(action)) {
      return yield* control({
        ...options,
        action,
        follow: command.follow === true,
        lines: command.lines,
        dryRun: command.dryRun
      })
    }
    if (action === "uninstall") return yield* Effect.zipRight(ServiceManager.uninstall(options), written)
    yield* checkUser(command, manager, options.service)
    yield* warnOfEnvironment(command)
    yield* warnOfUser(manager, options.service)
    yield* warnOfPaths(options.service)
    if (action === "install") return yield* Effect.zipRight(ServiceManager.install(options), written)
    yield* ServiceManager.checkWritable(options)
    const definition = ServiceDefinition.make(manager, options.service)
    if (definition.encoding === "utf-16le") {
      yield* notice(
        "save this text as UTF-16 with a byte order mark, which schtasks needs, or use service install"
      )
    }
    yield* print(definition.text.trimEnd())
  })
