/**
 * Generates the help of the program and of each command from the tables of settings and commands.
 */
import { toUrl } from "../Address.ts"
import { defaultAddress, type Setting, settings } from "../settings/GatewayConfig.ts"
import { version } from "../Version.ts"
import { type Command, type CommandName, commands } from "./CommandLine.ts"
import { ofEvery } from "./ExitStatus.ts"
import { defaultWidth, type Row, table, wrap } from "./Layout.ts"

const all: ReadonlyArray<Setting<unknown>> = Object.values(settings)

/** The flags of every command. */
export const everywhere: ReadonlyArray<Row> = [
  ["-h, --help", "show this help, or the help of the command"],
  ["-V, --version", "show the version"]
]

/** The environment variable and the default of a setting, in words. */
export const fallbacks = (setting: Setting<unknown>): string =>
  `${setting.env === undefined ? "" : `${setting.env}; `}default: ${setting.default}`

const flagRow = (setting: Setting<unknown>): ReadonlyArray<Row> =>
  setting.flag === undefined
    ? []
    : [[`--${setting.flag} ${setting.placeholder}`, setting.description, fallbacks(setting)]]

/** The key of a setting in the config file, with dots between nested keys. */
export const fileKey = (setting: Setting<unknown>): string | undefined => setting.file?.join(".")

const fileRow = (setting: Setting<unknown>): ReadonlyArray<Row> => {
  const key = fileKey(setting)
  return key === undefined ? [] : [[
    key,
    `${setting.description}; default: ${setting.default}`,
    // For a setting with a flag, the row of the flag already names the variable.
    setting.flag === undefined && setting.env !== undefined ? `also ${setting.env}` : ""
  ]]
}

/** The row of a setting that has only an environment variable. */
const variableRow = (setting: Setting<unknown>): ReadonlyArray<Row> =>
  setting.flag === undefined && setting.file === undefined && setting.env !== undefined
    ? [[setting.env, `${setting.description}; ${setting.allowed}`, `default: ${setting.default}`]]
    : []

const section = (title: string, rows: ReadonlyArray<Row>, width: number): ReadonlyArray<string> =>
  rows.length === 0 ? [] : ["", ...wrap(title, width), table(rows, width)]

/** The flags of a command, without the flags that every command accepts. */
export const ownFlags = (command: Command): ReadonlyArray<readonly [flag: string, description: string]> => [
  ...Object.entries(command.values).map(([name, { description, placeholder }]) =>
    [`--${name} ${placeholder}`, description] as const
  ),
  ...Object.entries(command.switches).map(([name, description]) => {
    const letter = command.letters?.[name]
    return [letter === undefined ? `--${name}` : `-${letter}, --${name}`, description] as const
  })
]

/** The name of a command, with the words that can follow it. */
export const signature = (name: string, { argument }: Command): string =>
  argument === undefined ? name : `${name} ${argument.allowed.join("|")}`

/** The words that follow the flags of a command. */
const tail = ({ command }: Command): string =>
  command === undefined ? "" : command === "required" ? " -- <command> [arguments]" : " [-- <command> [arguments]]"

const statusRows = (rows: ReadonlyArray<readonly [number, string]>): ReadonlyArray<Row> =>
  rows.toSorted(([a], [b]) => a - b).map(([status, when]) => [String(status), when])

/** The variables of OpenTelemetry. They are not in the table of settings, because they follow OpenTelemetry's own rules. */
const exportRows: ReadonlyArray<Row> = [
  [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OpenTelemetry collector for spans and metrics, such as http://127.0.0.1:4318; default: no export"
  ],
  ["OTEL_*", "other standard variables of OpenTelemetry"]
]

const join = (parts: ReadonlyArray<string>): string => parts.join("\n")

/** The purpose of the program, in one line. */
export const summary = `one gateway per base port and host; default ${toUrl(defaultAddress)}`

/** The settings whose flags select a gateway. They are on the first page, because most commands take them. */
const selecting: ReadonlyArray<Setting<unknown>> = [
  settings.profile,
  settings.port,
  settings.configPath,
  settings.stateDir
]

/** The help of the whole program. It fits one screen, and leaves the rest to the help of each command. */
export const page = (width: number = defaultWidth): string =>
  join([
    ...wrap(`gateway ${version}: ${summary}`, width),
    ...wrap("Usage: gateway [command] [flags]", width),
    ...section("Commands:", Object.entries(commands).map(([name, { description }]) => [name, description]), width),
    ...section(
      "Flags of most commands:",
      [
        ...selecting.map(({ description, flag, placeholder }): Row => [`--${flag} ${placeholder}`, description]),
        ...everywhere
      ],
      width
    ),
    "",
    ...wrap("All flags of a command: gateway <command> --help. Manual page: man gateway.", width)
  ])

/** The help of one command. */
export const ofCommand = (name: CommandName, width: number = defaultWidth): string => {
  const command = commands[name]
  const own = ownFlags(command)
  const flags = command.settings.flatMap(flagRow)
  const isRun = name === "run"
  return join([
    ...wrap(`gateway ${name}: ${command.description}`, width),
    "",
    ...wrap(`Usage: gateway ${signature(name, command)} [flags]${tail(command)}`, width),
    ...section(
      "Flags (precedence: flag, environment variable, config file, default):",
      [...own, ...flags, ...everywhere],
      width
    ),
    ...section(
      "Keys of the config file (JSON; a dot stands for a nested object):",
      isRun ? all.flatMap(fileRow) : [],
      width
    ),
    ...section(
      "Settings with only an environment variable:",
      isRun ? [...all.flatMap(variableRow), ...exportRows] : [],
      width
    ),
    ...section("Exit statuses:", statusRows([...command.exits, ...ofEvery]), width),
    "",
    ...wrap(
      isRun
        ? "All commands: gateway --help. Manual page: man gateway."
        : "All commands: gateway --help. Keys of the config file: gateway run --help.",
      width
    )
  ])
}
