/**
 * The text that hands a gateway to a service manager: a systemd unit, a launchd property list, a Task Scheduler task.
 *
 * Pure: options in, text out. Where the text goes, and how the manager is told of it, is `ServiceManager`'s business.
 */
import * as Option from "effect/Option"
import { notXml } from "./escapeXml.ts"
import { launchdPlist } from "./LaunchdPlist.ts"
import { taskXml } from "./ScheduledTask.ts"
import { commandWords, type Manager, serviceNames, type ServiceOptions, tokenFileFlag } from "./ServiceOptions.ts"
import { systemdUnit } from "./SystemdUnit.ts"

/**
 * A definition, ready to be written.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceDefinition {
  readonly manager: Manager
  /** What the manager calls it: the unit, the label, the task's path. */
  readonly name: string
  readonly fileName: string
  readonly text: string
  /** `utf-16le` is written with a byte order mark. */
  readonly encoding: "utf-8" | "utf-16le"
}

const texts: Record<Manager, (options: ServiceOptions) => string> = {
  systemd: systemdUnit,
  launchd: launchdPlist,
  schtasks: taskXml
}

/**
 * The definition for a manager.
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
 * The bytes of a definition's file.
 *
 * @since 0.1.0
 * @category encoding
 */
export const encode = (definition: Pick<ServiceDefinition, "text" | "encoding">): Uint8Array =>
  definition.encoding === "utf-8"
    ? Buffer.from(definition.text, "utf8")
    : Buffer.from(`\uFEFF${definition.text}`, "utf16le")

/**
 * The first word that a manager's format has no way to write, or that the manager is known to refuse.
 *
 * - No argument of any program can hold a NUL, and no text file half a surrogate pair.
 * - `LoadCredential=` and `User=` of systemd have no quotes: a line end in them would begin another setting.
 * - systemd refuses a program whose path holds a control character, a quote or a backslash ("Executable name contains
 *   special characters"), however it is quoted.
 * - XML 1.0 has no way to write a control character, not even by number.
 *
 * @since 0.1.0
 * @category decisions
 */
export const unwritable = (manager: Manager, options: ServiceOptions): Option.Option<string> => {
  if (manager === "systemd" && /[\p{Cc}"'\\]/u.test(options.execPath)) return Option.some(options.execPath)
  if (manager === "systemd" && options.scope === "system") {
    const unquoted = [options.args.get(tokenFileFlag) ?? "", options.user ?? ""].find((word) => /\p{Cc}/u.test(word))
    if (unquoted !== undefined) return Option.some(unquoted)
  }
  const words = [...commandWords(manager, options), options.stateDir, options.user ?? ""]
  const cannot = manager === "systemd" ? /[\0\ud800-\udfff]/u : notXml
  return Option.fromNullable(words.find((word) => cannot.test(word)))
}
