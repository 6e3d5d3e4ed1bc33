/**
 * What installs a service and what takes it away, as lists of steps. Pure; `ServiceManager` takes the steps.
 */
import * as NodePath from "node:path"
import * as ServiceDefinition from "./ServiceDefinition.ts"
import { type Manager, serviceNames, type ServiceOptions } from "./ServiceOptions.ts"
import { systemFolders, systemStateDir } from "./SystemdUnit.ts"

/**
 * The folders that a manager's own folders are found from.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceFolders {
  /** The user's home folder, absolute. */
  readonly home: string
  /** `$XDG_CONFIG_HOME`. Default: `.config` in the home folder. */
  readonly configHome?: string | undefined
  /** systemd's for the whole machine. Default: `/etc/systemd/system`. */
  readonly systemdSystem?: string | undefined
  /** launchd's for the whole machine. Default: `/Library/LaunchDaemons`. */
  readonly launchDaemons?: string | undefined
}

/** Which service, of which manager, and where the folders of that manager are. */
export interface Place {
  readonly manager: Manager
  readonly service: ServiceOptions
  readonly folders: ServiceFolders
  /** The user's number, which names the launchd domain `gui/<uid>`. Default 0. */
  readonly uid?: number | undefined
}

/**
 * One thing to do.
 *
 * @since 0.1.0
 * @category models
 */
export type Step =
  | { readonly _tag: "MakeFolder"; readonly path: string; readonly mode: number }
  | { readonly _tag: "WriteFile"; readonly path: string; readonly definition: ServiceDefinition.ServiceDefinition }
  | { readonly _tag: "RemoveFile"; readonly path: string }
  | {
    readonly _tag: "Run"
    readonly words: readonly [string, ...Array<string>]
    /** `false`: it fails where there is nothing to do. Such a failure is not reported. */
    readonly required: boolean
    /** A manager that ends a service in the background refuses its successor for a moment. */
    readonly patient: boolean
  }

const run = (...words: readonly [string, ...Array<string>]): Step => ({
  _tag: "Run",
  words,
  required: true,
  patient: false
})
const runIfThere = (...words: readonly [string, ...Array<string>]): Step => ({
  _tag: "Run",
  words,
  required: false,
  patient: false
})
const runPatiently = (...words: readonly [string, ...Array<string>]): Step => ({
  _tag: "Run",
  words,
  required: true,
  patient: true
})

/**
 * Where the definition is written (systemd.unit(5) "Unit File Load Path", launchd(8) "FILES"). A task has no folder
 * of its own: its XML is kept in the state directory, and registered from there.
 *
 * @since 0.1.0
 * @category paths
 */
export const definitionPath = ({ folders, manager, service }: Place): string => {
  const { fileName } = serviceNames(manager, service.profile)
  const isSystem = service.scope === "system"
  switch (manager) {
    case "systemd":
      return NodePath.join(
        isSystem
          ? folders.systemdSystem ?? "/etc/systemd/system"
          : NodePath.join(folders.configHome ?? NodePath.join(folders.home, ".config"), "systemd", "user"),
        fileName
      )
    case "launchd":
      return NodePath.join(
        isSystem
          ? folders.launchDaemons ?? "/Library/LaunchDaemons"
          : NodePath.join(folders.home, "Library", "LaunchAgents"),
        fileName
      )
    case "schtasks":
      return NodePath.join(service.stateDir, fileName)
  }
}

/**
 * The link that `systemctl enable` makes (systemd.unit(5), `WantedBy=`).
 */
export const enablement = (place: Place): string => {
  const path = definitionPath(place)
  const target = place.service.scope === "system" ? "multi-user.target" : "default.target"
  return NodePath.join(NodePath.dirname(path), `${target}.wants`, NodePath.basename(path))
}

/** systemctl(1), for the manager of the user or of the system. */
export const systemctl = (place: Place): readonly [string, ...Array<string>] =>
  place.service.scope === "system" ? ["systemctl"] : ["systemctl", "--user"]

/** The launchd domain of launchctl(1): the machine's, or that of the user's login session. */
export const launchdDomain = (place: Place): string =>
  place.service.scope === "system" ? "system" : `gui/${place.uid ?? 0}`

/**
 * What an installation does, in order. The service is enabled, and started by the manager when it says: systemd and
 * the Task Scheduler at the next boot or login, launchd at once.
 *
 * @since 0.1.0
 * @category plans
 */
export const installSteps = (place: Place): ReadonlyArray<Step> => {
  const definition = ServiceDefinition.make(place.manager, place.service)
  const path = definitionPath(place)
  const write: ReadonlyArray<Step> = [
    { _tag: "MakeFolder", path: NodePath.dirname(path), mode: place.manager === "schtasks" ? 0o700 : 0o755 },
    { _tag: "WriteFile", path, definition }
  ]
  switch (place.manager) {
    case "systemd":
      return [
        ...write,
        run(...systemctl(place), "daemon-reload"),
        run(...systemctl(place), "enable", definition.name)
      ]
    case "launchd":
      return [
        // launchd opens the error output before it starts the program, and makes no folders.
        { _tag: "MakeFolder", path: place.service.stateDir, mode: 0o700 },
        ...write,
        // A label that is loaded already cannot be bootstrapped again.
        runIfThere("launchctl", "bootout", `${launchdDomain(place)}/${definition.name}`),
        run("launchctl", "enable", `${launchdDomain(place)}/${definition.name}`),
        runPatiently("launchctl", "bootstrap", launchdDomain(place), path)
      ]
    case "schtasks":
      return [...write, run("schtasks", "/Create", "/TN", definition.name, "/XML", path, "/F")]
  }
}

/**
 * What takes an installed service away, in order: it is stopped first.
 *
 * @since 0.1.0
 * @category plans
 */
export const uninstallSteps = (place: Place): ReadonlyArray<Step> => {
  const { name } = serviceNames(place.manager, place.service.profile)
  const remove: Step = { _tag: "RemoveFile", path: definitionPath(place) }
  switch (place.manager) {
    case "systemd":
      return [
        run(...systemctl(place), "disable", "--now", name),
        remove,
        run(...systemctl(place), "daemon-reload"),
        // A unit that failed is remembered without its file.
        runIfThere(...systemctl(place), "reset-failed", name)
      ]
    case "launchd":
      // It says no where the job is not loaded, such as after a bootout by hand.
      return [runIfThere("launchctl", "bootout", `${launchdDomain(place)}/${name}`), remove]
    case "schtasks":
      return [
        // It says no where the task does not run.
        runIfThere("schtasks", "/End", "/TN", name),
        run("schtasks", "/Delete", "/TN", name, "/F"),
        remove
      ]
  }
}

/** What to type next. */
export const afterInstall = (place: Place): ReadonlyArray<string> => {
  const { name } = serviceNames(place.manager, place.service.profile)
  switch (place.manager) {
    case "systemd":
      return [
        `to start it, or to apply a change: ${systemctl(place).join(" ")} restart ${name}`,
        ...(place.service.scope === "user"
          ? ["to run it without being logged in: loginctl enable-linger"]
          : [
            `its state directory: ${systemStateDir(place.service)}`,
            ...(place.service.args.has("config")
              ? []
              : [
                `its config file, if it needs one: ${
                  NodePath.posix.join(systemFolders.config, place.service.profile, "gateway.json")
                }`
              ])
          ])
      ]
    case "launchd":
      return [`to see it: launchctl print ${launchdDomain(place)}/${name}`]
    case "schtasks":
      return [`to start it: schtasks /Run /TN ${name}`]
  }
}

/** A word of a command line, quoted where it is not plain. */
export const showWord = (word: string): string => /^[\w./:=,@%+\\-]+$/.test(word) ? word : JSON.stringify(word)

/**
 * A step in words.
 *
 * @since 0.1.0
 * @category formatting
 */
export const describeStep = (step: Step): string => {
  switch (step._tag) {
    case "MakeFolder":
      return `make folder ${step.path} (unless it is there)`
    case "WriteFile":
      return `write ${step.path}`
    case "RemoveFile":
      return `remove ${step.path}`
    case "Run":
      return `run ${step.words.map(showWord).join(" ")}`
  }
}
