/**
 * The steps that install and uninstall a service. Pure: `ServiceManager` runs the steps.
 */
import * as NodePath from "node:path"
import { shellWord } from "../internal/shellWord.ts"
import * as ServiceDefinition from "./ServiceDefinition.ts"
import { type Manager, serviceNames, type ServiceOptions } from "./ServiceOptions.ts"
import { systemFolders, systemStateDir } from "./SystemdUnit.ts"

/**
 * The folders from which `definitionPath` makes the path of a definition file.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceFolders {
  /** The user's home folder, absolute. */
  readonly home: string
  /** `$XDG_CONFIG_HOME`. Default: `.config` in the home folder. */
  readonly configHome?: string | undefined
  /** The folder of systemd's system units. Default: `/etc/systemd/system`. */
  readonly systemdSystem?: string | undefined
  /** The folder of launchd's daemons. Default: `/Library/LaunchDaemons`. */
  readonly launchDaemons?: string | undefined
}

/** A service, the manager in which it is installed, and the folders in which the managers look for services. */
export interface Place {
  readonly manager: Manager
  readonly service: ServiceOptions
  readonly folders: ServiceFolders
  /** The uid of the user, for the launchd domain `gui/<uid>`. Default 0. */
  readonly uid?: number | undefined
}

/**
 * One step of an installation or uninstallation.
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
    /** Whether a failure of the command is an error. `false` for a command that also fails if there is nothing for it to do. */
    readonly required: boolean
    /**
     * Whether to retry a failed command. A manager may end the former service in the background. The manager then refuses the new
     * service until the former service has ended.
     */
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
 * The path of the definition's file (systemd.unit(5) "Unit File Load Path", launchd(8) "FILES"). The Task Scheduler has no folder
 * for definitions, so the XML of a task is written to the state directory, and `schtasks` reads the XML from there.
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
 * The path of the link that `systemctl enable` creates (systemd.unit(5), `WantedBy=`).
 */
export const enablement = (place: Place): string => {
  const path = definitionPath(place)
  const target = place.service.scope === "system" ? "multi-user.target" : "default.target"
  return NodePath.join(NodePath.dirname(path), `${target}.wants`, NodePath.basename(path))
}

/** The first words of a systemctl(1) command, for the user's systemd manager or for the system's. */
export const systemctl = (place: Place): readonly [string, ...Array<string>] =>
  place.service.scope === "system" ? ["systemctl"] : ["systemctl", "--user"]

/** The launchd domain of the service (launchctl(1)): the system domain, or the domain of the user's login session. */
export const launchdDomain = (place: Place): string =>
  place.service.scope === "system" ? "system" : `gui/${place.uid ?? 0}`

/**
 * The steps of an installation, in order. These steps enable the service. systemd and the Task Scheduler start the service at the
 * next boot or login. launchd starts the service at once.
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
        // launchd opens the file of the error output before it starts the program, and does not create the file's folder. So this
        // step creates the folder.
        { _tag: "MakeFolder", path: place.service.stateDir, mode: 0o700 },
        ...write,
        // `bootstrap` fails while launchd has a job with this label, so `bootout` removes such a job first.
        runIfThere("launchctl", "bootout", `${launchdDomain(place)}/${definition.name}`),
        run("launchctl", "enable", `${launchdDomain(place)}/${definition.name}`),
        runPatiently("launchctl", "bootstrap", launchdDomain(place), path)
      ]
    case "schtasks":
      return [...write, run("schtasks", "/Create", "/TN", definition.name, "/XML", path, "/F")]
  }
}

/**
 * The steps of an uninstallation, in order. The first step stops the service.
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
        // systemd still lists a failed unit after its file is removed. `reset-failed` removes that entry.
        runIfThere(...systemctl(place), "reset-failed", name)
      ]
    case "launchd":
      // `bootout` fails if launchd has no job with this label, for example after a manual `bootout`. The step ignores a failure.
      return [runIfThere("launchctl", "bootout", `${launchdDomain(place)}/${name}`), remove]
    case "schtasks":
      return [
        // `/End` fails if the task is not running. The step ignores a failure.
        runIfThere("schtasks", "/End", "/TN", name),
        run("schtasks", "/Delete", "/TN", name, "/F"),
        remove
      ]
  }
}

/**
 * The words by which journalctl(1) selects the log of a unit. `--user-unit` also finds the lines in the journal of the system, where
 * they are if the journal is not persistent. `--user -u` looks only into the user's own files.
 */
export const logsOf = ({ service }: Pick<Place, "service">): readonly [string, string] => [
  service.scope === "user" ? "--user-unit" : "-u",
  serviceNames("systemd", service.profile).name
]

/** The files to which launchd writes the output of a service. The output of a gateway goes to stderr only. */
export const launchdLogs = ({ service }: Pick<Place, "service">): ReadonlyArray<string> =>
  [...(service.exec === undefined ? [] : ["launchd.stdout.log"]), "launchd.stderr.log"].map((name) =>
    NodePath.join(service.stateDir, name)
  )

/** The lines that tell the user where the logs are, and what to type after an installation. */
export const afterInstall = (place: Place): ReadonlyArray<string> => {
  const { name } = serviceNames(place.manager, place.service.profile)
  switch (place.manager) {
    case "systemd":
      return [
        `to start it, or to apply a change: ${systemctl(place).join(" ")} restart ${name}`,
        `to see it: ${systemctl(place).join(" ")} status ${name}`,
        `to read its logs: journalctl ${logsOf(place).join(" ")}`,
        ...(place.service.scope === "user"
          ? ["to run it without being logged in: loginctl enable-linger"]
          : [
            `its state directory: ${systemStateDir(place.service)}`,
            // A service of `exec` reads a config file only if its command line names one.
            ...(place.service.args.has("config") || place.service.exec !== undefined
              ? []
              : [
                `its config file, if it needs one: ${
                  NodePath.posix.join(systemFolders.config, place.service.profile, "gateway.json")
                }`
              ])
          ])
      ]
    case "launchd":
      return [
        "it runs now, and after each boot or login",
        `to see it: launchctl print ${launchdDomain(place)}/${name}`,
        `to read its logs: tail -f ${launchdLogs(place).map(shellWord).join(" ")}`
      ]
    case "schtasks":
      return [
        `to start it: schtasks /Run /TN ${name}`,
        `to see it: schtasks /Query /V /FO LIST /TN ${name}`,
        "its logs: the Task Scheduler keeps none; to see them, run its command in a terminal"
      ]
  }
}

/** A word of a command line, for display. A word with special characters is quoted. */
export const showWord = (word: string): string => /^[\w./:=,@%+\\-]+$/.test(word) ? word : JSON.stringify(word)

/**
 * Describes a step in words.
 *
 * @since 0.1.0
 * @category formatting
 */
export const describeStep = (step: Step): string => {
  switch (step._tag) {
    case "MakeFolder":
      return `make folder ${step.path} (unless it exists)`
    case "WriteFile":
      return `write ${step.path}`
    case "RemoveFile":
      return `remove ${step.path}`
    case "Run":
      return `run ${step.words.map(showWord).join(" ")}`
  }
}
