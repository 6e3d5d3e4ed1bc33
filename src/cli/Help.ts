/**
 * `--help`, of the program and of each command, from the tables of settings and commands.
 */
import { toUrl } from "../Address.ts"
import { defaultAddress, type Setting, settings } from "../settings/GatewayConfig.ts"
import { version } from "../Version.ts"
import { type Command, type CommandName, commands } from "./CommandLine.ts"
import { ofEvery } from "./ExitStatus.ts"
import { defaultWidth, type Row, table, wrap } from "./Layout.ts"

const all: ReadonlyArray<Setting<unknown>> = Object.values(settings)

/** Flags that every command has. */
export const everywhere: ReadonlyArray<Row> = [
  ["-h, --help", "show this page; after a command, that command's"],
  ["-V, --version", "show the version"]
]

/** A setting's variable and default, in words. */
export const fallbacks = (setting: Setting<unknown>): string =>
  `${setting.env === undefined ? "" : `${setting.env}; `}default: ${setting.default}`

const flagRow = (setting: Setting<unknown>): ReadonlyArray<Row> =>
  setting.flag === undefined
    ? []
    : [[`--${setting.flag} ${setting.placeholder}`, setting.description, fallbacks(setting)]]

/** The way to a setting through the config file. */
export const fileKey = (setting: Setting<unknown>): string | undefined => setting.file?.join(".")

const fileRow = (setting: Setting<unknown>): ReadonlyArray<Row> => {
  const key = fileKey(setting)
  return key === undefined ? [] : [[
    key,
    `${setting.description}; default: ${setting.default}`,
    // With a flag, its variable stands there.
    setting.flag === undefined && setting.env !== undefined ? `also ${setting.env}` : ""
  ]]
}

/** What can be said in the environment alone. */
const variableRow = (setting: Setting<unknown>): ReadonlyArray<Row> =>
  setting.flag === undefined && setting.file === undefined && setting.env !== undefined
    ? [[setting.env, `${setting.description}; ${setting.allowed}`, `default: ${setting.default}`]]
    : []

const section = (title: string, rows: ReadonlyArray<Row>, width: number): ReadonlyArray<string> =>
  rows.length === 0 ? [] : ["", ...wrap(title, width), table(rows, width)]

/** The flags that only this command has. */
export const ownFlags = (command: Command): ReadonlyArray<readonly [flag: string, description: string]> => [
  ...Object.entries(command.values).map(([name, { description, placeholder }]) =>
    [`--${name} ${placeholder}`, description] as const
  ),
  ...Object.entries(command.switches).map(([name, description]) => [`--${name}`, description] as const)
]

/** A command's name, with the words that must follow it. */
export const signature = (name: string, { argument }: Command): string =>
  argument === undefined ? name : `${name} ${argument.allowed.join("|")}`

const statusRows = (rows: ReadonlyArray<readonly [number, string]>): ReadonlyArray<Row> =>
  rows.toSorted(([a], [b]) => a - b).map(([status, when]) => [String(status), when])

/** Read by OpenTelemetry's own rules, so that the table of settings does not know them. */
const exportRows: ReadonlyArray<Row> = [
  [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "the collector of spans and metrics, such as http://127.0.0.1:4318; default: nothing is sent"
  ],
  ["OTEL_*", "and the other standard variables of OpenTelemetry"]
]

const join = (parts: ReadonlyArray<string>): string => parts.join("\n")

/** What the program is, in one line. */
export const summary = `one gateway per base port on this host, by default ${toUrl(defaultAddress)}`

const everyStatus = ofEvery.map(([status]) => status).join(" and ")

/** The whole page. */
export const page = (width: number = defaultWidth): string =>
  join([
    ...wrap(`gateway ${version}: ${summary}`, width),
    "",
    ...wrap("Usage: gateway [command] [flags]", width),
    ...section(
      "Commands:",
      Object.entries(commands).map(([name, command]) => [signature(name, command), command.description]),
      width
    ),
    ...section(
      "Flags (a flag goes before its environment variable, that before the config file):",
      [...all.flatMap(flagRow), ...everywhere],
      width
    ),
    ...Object.entries(commands).flatMap(([name, command]) => section(`Flags of ${name}:`, ownFlags(command), width)),
    ...section("Keys of the config file (JSON, nested at the dots):", all.flatMap(fileRow), width),
    ...section("Variables of the environment alone:", [...all.flatMap(variableRow), ...exportRows], width),
    ...section("Exit statuses:", statusRows([...commands.run.exits, ...ofEvery]), width),
    ...Object.entries(commands).flatMap(([name, { exits }]) =>
      name === "run" ? [] : section(`Exit statuses of ${name}, besides ${everyStatus}:`, statusRows(exits), width)
    ),
    "",
    ...wrap("The page of one command: gateway <command> --help. The manual: man gateway.", width)
  ])

/** The page of one command. */
export const ofCommand = (name: CommandName, width: number = defaultWidth): string => {
  const command = commands[name]
  const own = ownFlags(command)
  const flags = command.settings.flatMap(flagRow)
  const keys = name === "run" ? all.filter(({ flag }) => flag === undefined).flatMap(fileRow) : []
  return join([
    ...wrap(`gateway ${name}: ${command.description}`, width),
    "",
    ...wrap(`Usage: gateway ${signature(name, command)} [flags]`, width),
    ...section("Flags:", [...own, ...flags, ...everywhere], width),
    ...section("Settings of the config file that have no flag:", keys, width),
    ...section(
      "Variables of the environment alone:",
      name === "run" ? [...all.flatMap(variableRow), ...exportRows] : [],
      width
    ),
    ...section("Exit statuses:", statusRows([...command.exits, ...ofEvery]), width),
    "",
    ...wrap("Everything else: gateway --help.", width)
  ])
}
