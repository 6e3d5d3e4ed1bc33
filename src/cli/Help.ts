/**
 * `--help`, from the settings table.
 */
import { defaultAddress, type Setting, settings } from "../GatewayConfig.ts"
import { toUrl } from "../port/Address.ts"
import { version } from "../Version.ts"
import { commands } from "./CommandLine.ts"
import { descriptions } from "./ExitStatus.ts"

const column = (rows: ReadonlyArray<readonly [string, string]>): string => {
  const width = Math.max(...rows.map(([left]) => left.length))
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join("\n")
}

const all: ReadonlyArray<Setting<unknown>> = Object.values(settings)

const flagRow = (setting: Setting<unknown>): ReadonlyArray<readonly [string, string]> =>
  setting.flag === undefined ? [] : [
    [`--${setting.flag} ${setting.placeholder}`, setting.description],
    ["", `${setting.env === undefined ? "" : `${setting.env}; `}default: ${setting.default}`]
  ]

const fileRow = (setting: Setting<unknown>): ReadonlyArray<readonly [string, string]> =>
  setting.file === undefined ? [] : [
    [setting.file.join("."), `${setting.description}; default: ${setting.default}`],
    // With a flag, its variable stands there.
    ...(setting.flag === undefined && setting.env !== undefined ? [["", `also ${setting.env}`] as const] : [])
  ]

const commandRows = (command: typeof commands["run"]): ReadonlyArray<readonly [string, string]> => [
  ...Object.entries(command.values).map(([name, { description, placeholder }]) =>
    [`--${name} ${placeholder}`, description] as const
  ),
  ...Object.entries(command.switches).map(([name, description]) => [`--${name}`, description] as const)
]

/** The whole page. */
export const text = [
  `gateway ${version}: one gateway per base port on this host, by default ${toUrl(defaultAddress)}`,
  "",
  "Usage: gateway [command] [flags]",
  "",
  "Commands:",
  column(
    Object.entries(commands).map(([name, { argument, description }]) => [
      argument === undefined ? name : `${name} ${argument.allowed.join("|")}`,
      description
    ])
  ),
  "",
  "Flags (a flag goes before its environment variable, that before the config file):",
  column([
    ...all.flatMap(flagRow),
    ["-h, --help", "show this page"],
    ["-V, --version", "show the version"]
  ]),
  ...Object.entries(commands).flatMap(([name, command]) => ["", `Flags of ${name}:`, column(commandRows(command))]),
  "",
  "Keys of the config file (JSON, nested at the dots):",
  column(all.flatMap(fileRow)),
  "",
  "Spans and metrics over OTLP, if the environment says where to:",
  column([
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "the collector, such as http://127.0.0.1:4318; default: nothing is sent"],
    ["OTEL_*", "and the other standard variables of OpenTelemetry"]
  ]),
  "",
  "Exit statuses:",
  column(descriptions.map(([status, when]) => [String(status), when]))
].join("\n")
