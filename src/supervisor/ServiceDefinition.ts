/**
 * Makes the text of a service definition: a systemd unit, a launchd property list or a Task Scheduler task.
 *
 * Pure: the text depends on the options only. `ServiceManager` writes the text to a file and tells the service manager about that
 * file.
 */
import * as Option from "effect/Option"
import { notXml } from "./escapeXml.ts"
import { launchdPlist } from "./LaunchdPlist.ts"
import { taskXml } from "./ScheduledTask.ts"
import { commandWords, type Manager, secretFiles, serviceNames, type ServiceOptions } from "./ServiceOptions.ts"
import { systemdUnit } from "./SystemdUnit.ts"

/**
 * The definition of a service, with the name and encoding of its file.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceDefinition {
  readonly manager: Manager
  /** The service's name in the manager: a unit name (systemd), a label (launchd) or a task path (Task Scheduler). */
  readonly name: string
  readonly fileName: string
  readonly text: string
  /** The encoding of the file. `utf-16le` is written with a byte order mark. */
  readonly encoding: "utf-8" | "utf-16le"
}

const texts: Record<Manager, (options: ServiceOptions) => string> = {
  systemd: systemdUnit,
  launchd: launchdPlist,
  schtasks: taskXml
}

/**
 * Makes the definition of a service in the format of a service manager.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (manager: Manager, options: ServiceOptions): ServiceDefinition => ({
  manager,
  ...serviceNames(manager, options.profile),
  text: texts[manager](options),
  encoding: manager === "schtasks" ? "utf-16le" : "utf-8"
})

/**
 * Encodes a definition as the bytes of its file.
 *
 * @since 0.1.0
 * @category encoding
 */
export const encode = (definition: Pick<ServiceDefinition, "text" | "encoding">): Uint8Array =>
  definition.encoding === "utf-8"
    ? Buffer.from(definition.text, "utf8")
    : Buffer.from(`\uFEFF${definition.text}`, "utf16le")

/** Matches a folder that cannot be the value of `WorkingDirectory=`. systemd refuses the noncharacters of Unicode. */
const notWorkingDirectory = /[\p{Cc}\p{Noncharacter_Code_Point}]|[\s\\]$/u

/**
 * Finds the first value that the manager's format cannot express, or that the manager refuses. The values are the state
 * directory, the user name, the words of the service's command line, and the folder and the `PATH` of a command of `gateway exec`.
 *
 * - An argument of a program cannot contain a NUL, and a text file cannot contain an unpaired surrogate.
 * - systemd does not interpret quotes in the values of `LoadCredential=` and `User=`. So quotes cannot protect a line end in such
 *   a value, and the line end would begin another setting.
 * - systemd refuses a program whose path contains a control character, a quote or a backslash, even if the path is in quotes
 *   ("Executable name contains special characters").
 * - systemd takes the value of `WorkingDirectory=` literally, without white space at its end. A backslash at the end of the line
 *   would join it to the next line.
 * - XML 1.0 cannot express most control characters, not even as a character reference.
 *
 * @since 0.1.0
 * @category decisions
 */
export const unwritable = (manager: Manager, options: ServiceOptions): Option.Option<string> => {
  if (manager === "systemd" && /[\p{Cc}"'\\]/u.test(options.execPath)) return Option.some(options.execPath)
  if (manager === "systemd" && options.scope === "system") {
    const unquoted = [...secretFiles(options).map(([flag]) => options.args.get(flag) ?? ""), options.user ?? ""].find((
      word
    ) => /\p{Cc}/u.test(word))
    if (unquoted !== undefined) return Option.some(unquoted)
  }
  const { exec } = options
  if (manager === "systemd" && exec !== undefined && notWorkingDirectory.test(exec.workingDirectory)) {
    return Option.some(exec.workingDirectory)
  }
  const words = [
    ...commandWords(manager, options),
    options.stateDir,
    options.user ?? "",
    ...(exec === undefined ? [] : [exec.workingDirectory, exec.searchPath])
  ]
  const cannot = manager === "systemd" ? /[\0\ud800-\udfff]/u : notXml
  return Option.fromNullable(words.find((word) => cannot.test(word)))
}
