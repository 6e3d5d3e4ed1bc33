/**
 * Generates the manual page gateway(1) in mdoc(7) from the tables of settings and commands. The build writes the page to a
 * file. Pure.
 */
import { type Setting, settings } from "../settings/GatewayConfig.ts"
import { version } from "../Version.ts"
import { type Command, type CommandName, commandNames, commands } from "./CommandLine.ts"
import { type Description, ofEvery } from "./ExitStatus.ts"
import { everywhere, fileKey, ownFlags, signature, summary } from "./Help.ts"
import { wrap } from "./Layout.ts"

const all: ReadonlyArray<Setting<unknown>> = Object.values(settings)

/**
 * Escapes a text for mdoc: backslashes, hyphens, and a control character (`'` or `.`) in the first column. An unescaped
 * hyphen becomes a typographic one, which cannot be pasted into a shell.
 */
const text = (value: string): string =>
  value
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(/^(['.])/, "\\&$1")

/** Quotes one argument of a macro. A double quote inside is written twice. */
const argument = (value: string): string => `"${text(value).replaceAll("\"", "\"\"")}"`

/** Marks up `--flag <value>`, or `-f, --flag`, in mdoc. */
const flags = (spelling: string): string => spelling.split(", ").map(flag).join(" , ")

/** Marks up `--flag <value>` in mdoc. */
const flag = (spelling: string): string => {
  const [name = "", placeholder] = spelling.replace(/^-/, "").split(" ", 2)
  const value = placeholder === undefined ? "" : ` Ar ${text(placeholder.replace(/[<>]/g, ""))}`
  return `Fl ${text(name)}${value}`
}

const item = (head: string, ...lines: ReadonlyArray<string>): ReadonlyArray<string> => [`.It ${head}`, ...lines]

const list = (items: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> =>
  items.length === 0 ? [] : [".Bl -tag -width Ds", ...items.flat(), ".El"]

/** Wraps prose into short source lines. The formatter that shows the page wraps the text again. */
const prose = (words: string): ReadonlyArray<string> => wrap(words, sourceWidth).map(text)

const sourceWidth = 72

const sentence = (words: string): ReadonlyArray<string> => prose(`${words.charAt(0).toUpperCase()}${words.slice(1)}.`)

const settingItem = (setting: Setting<unknown>, head: string): ReadonlyArray<string> =>
  item(
    head,
    ...sentence(setting.description),
    ...(setting.env === undefined ? [] : [`Environment: ${text(setting.env)}.`]),
    ...prose(`Default: ${setting.default}.`)
  )

const statusItems = (rows: ReadonlyArray<Description>): ReadonlyArray<string> =>
  list(rows.toSorted(([a], [b]) => a - b).map(([status, when]) => item(String(status), ...sentence(when))))

const commandSection = (name: CommandName, command: Command): ReadonlyArray<string> => [
  `.Ss ${argument(signature(name, command))}`,
  ...sentence(command.description),
  ...list(ownFlags(command).map(([spelling, description]) => item(flags(spelling), ...sentence(description)))),
  ".Pp",
  "Exit statuses:",
  ...statusItems(command.exits)
]

/** Command lines, each with what it does. */
const examples: ReadonlyArray<readonly [does: string, line: string]> = [
  ["Start a gateway on the default port", "gateway"],
  ["Start another gateway beside it", "gateway run --profile blue --port 18790"],
  ["Run any server under the lock", "gateway exec --port 8000 -- python3 -m http.server 8000"],
  ["See the holder of the lock and the port", "gateway status"],
  ["Stop it, and wait until the lock is free", "gateway stop"],
  ["Install it as a service, start it, and follow its logs", "gateway service install"],
  ["", "gateway service start"],
  ["", "gateway service logs --follow"]
]

/** The files that the program reads and writes by default, on Linux. */
const files: ReadonlyArray<readonly [path: string, content: string]> = [
  ["~/.config/gateway-lock/<profile>/gateway.json", "config file in JSON; may be absent"],
  ["~/.local/state/gateway-lock/<profile>/locks/", "lock files of a profile, in its state directory"]
]

/**
 * The whole manual page, with its date.
 */
export const manPage = (date: { readonly year: number; readonly month: string; readonly day: number }): string => {
  const lines = [
    `.Dd ${date.month} ${date.day}, ${date.year}`,
    ".Dt GATEWAY 1",
    `.Os gateway\\-lock ${text(version)}`,
    ".Sh NAME",
    ".Nm gateway",
    `.Nd ${text(summary)}`,
    ".Sh SYNOPSIS",
    ".Nm",
    ".Op Ar command",
    ".Op Ar flags",
    ".Sh DESCRIPTION",
    "A gateway is one long\\-running process with an HTTP and WebSocket listener.",
    ".Nm",
    ...prose(
      "acquires a lock file for its configuration, probes the port, reclaims the lock of an owner that has ended, and binds the port exclusively."
    ),
    ...prose("On shutdown it drains, closes the listener and removes the lock file."),
    ...prose(
      "If it cannot start, it reports which process holds the lock or the port, and which command to type next."
    ),
    ".Sh COMMANDS",
    ...commandNames.flatMap((name) => commandSection(name, commands[name])),
    ".Sh OPTIONS",
    ...prose("Precedence: flag, environment variable, config file, default."),
    ...list([
      ...all.flatMap((setting) =>
        setting.flag === undefined ? [] : [settingItem(setting, flag(`--${setting.flag} ${setting.placeholder}`))]
      ),
      ...everywhere.map(([spelling, description = ""]) => item(flags(spelling), ...sentence(description)))
    ]),
    ".Sh ENVIRONMENT",
    "An empty variable counts as not set.",
    ...list([
      ...all.flatMap((setting) =>
        setting.env === undefined ? [] : [item(`Ev ${text(setting.env)}`, ...sentence(setting.description))]
      ),
      item("Ev NO_COLOR", "If set, output has no colours.")
    ]),
    ".Sh FILES",
    ...list(files.map(([path, content]) => item(`Pa ${text(path)}`, ...sentence(content)))),
    ".Pp",
    "A dot in a key of the config file stands for a nested object.",
    "The keys are:",
    ...list(all.flatMap((setting) => {
      const key = fileKey(setting)
      return key === undefined ? [] : [settingItem(setting, `Li ${text(key)}`)]
    })),
    ".Sh EXIT STATUS",
    "Every command can also end with:",
    ...statusItems(ofEvery),
    ".Sh EXAMPLES",
    ...examples.flatMap(([does, line]) => [
      ...(does === "" ? [] : [...prose(`${does}:`)]),
      `.Dl ${text(line)}`
    ]),
    ".Sh SEE ALSO",
    ".Xr journalctl 1 ,",
    ".Xr launchctl 1 ,",
    ".Xr systemctl 1"
  ]
  return `${lines.join("\n")}\n`
}
