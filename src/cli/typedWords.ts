/**
 * Reads single facts from a command line that may be invalid as a whole, and so is not parsed.
 */
import { settings } from "../settings/GatewayConfig.ts"
import { type CommandName, commands, isControlAction } from "./commands.ts"

/** The placeholder of each flag of a setting. */
export const settingFlags: ReadonlyMap<string, string> = new Map(
  Object.values(settings).flatMap((setting) =>
    setting.flag === undefined ? [] : [[setting.flag, setting.placeholder] as const]
  )
)

/**
 * The placeholder of each flag that takes a value. The parser must know these flags before it can split the words. The command
 * is not known at that time, so this map has the flags of all commands.
 */
export const allValues: ReadonlyMap<string, string> = new Map([
  ...settingFlags,
  ...Object.values(commands).flatMap((command) =>
    Object.entries(command.values).map(([name, { placeholder }]) => [name, placeholder] as const)
  )
])

/** The last value of a flag before `--`. */
export const lastValue = (argv: ReadonlyArray<string>, flag: string): string | undefined => {
  const end = argv.indexOf("--")
  const words = end === -1 ? argv : argv.slice(0, end)
  const at = words.findLastIndex((word) => word === `--${flag}` || word.startsWith(`--${flag}=`))
  return words[at]?.includes("=") === true ? words[at].slice(flag.length + 3) : at === -1 ? undefined : words[at + 1]
}

/**
 * The words before `--` that are neither flags nor values of flags.
 */
const plainWords = (argv: ReadonlyArray<string>): ReadonlyArray<string> => {
  const words: Array<string> = []
  for (let at = 0; at < argv.length; at += 1) {
    const word = argv[at] ?? ""
    if (word === "--") break
    if (!word.startsWith("-")) words.push(word)
    else if (allValues.has(word.replace(/^--/, ""))) at += 1
  }
  return words
}

/** Whether a command line calls the given command. */
export const namesCommand = (argv: ReadonlyArray<string>, command: CommandName): boolean =>
  plainWords(argv)[0] === command

/**
 * Whether the program relays signals to another program that it runs, and ends as that program does.
 */
export const relaysSignals = (argv: ReadonlyArray<string>): boolean => {
  const [command, action] = plainWords(argv)
  return command === "exec" || (command === "service" && isControlAction(action))
}
