/**
 * Generates the completion scripts of the shells from the tables of settings and commands. Pure.
 *
 * A script contains all completions except the names of profiles, which it reads from the state folder. It never starts
 * the program, because that would delay the user's typing.
 */
import { type Setting, settings } from "../settings/GatewayConfig.ts"
import { type CommandName, commandNames, commands, type Shell } from "./CommandLine.ts"
import { everywhere } from "./Help.ts"

/** How a shell completes the value of a flag. `Free` means that it completes nothing. */
type Value =
  | { readonly _tag: "Words"; readonly words: ReadonlyArray<string> }
  | { readonly _tag: "File" | "Directory" | "Profile" | "Free" }

interface Flag {
  /** The name without dashes. */
  readonly name: string
  readonly short?: string
  readonly description: string
  /** Absent for a switch. */
  readonly value?: Value
  readonly commands: ReadonlyArray<CommandName>
}

const ofSetting = (setting: Setting<unknown>): Value => {
  if (setting.values !== undefined) return { _tag: "Words", words: setting.values }
  if (setting === settings.profile) return { _tag: "Profile" }
  if (setting.path === "directory") return { _tag: "Directory" }
  return { _tag: setting.path === "file" || setting.placeholder === "<path>" ? "File" : "Free" }
}

const shared: ReadonlyArray<Flag> = Object.values<Setting<unknown>>(settings).flatMap((setting) => {
  const takers = commandNames.filter((name) => commands[name].settings.includes(setting))
  return setting.flag === undefined
    ? []
    : [{ name: setting.flag, description: setting.description, value: ofSetting(setting), commands: takers }]
})

/** A command, and the commands that take this flag of it too. */
const takersOf = (command: CommandName, flag: string): ReadonlyArray<CommandName> =>
  commandNames.filter((name) => {
    const { takesFlagsOf } = commands[name]
    return name === command || (takesFlagsOf?.command === command && !takesFlagsOf.except.includes(flag))
  })

const own: ReadonlyArray<Flag> = commandNames.flatMap((command) => [
  ...Object.entries(commands[command].values).map(([name, { description, values }]): Flag => ({
    name,
    description,
    value: values === undefined ? { _tag: "Free" } : { _tag: "Words", words: values },
    commands: takersOf(command, name)
  })),
  ...Object.entries(commands[command].switches).map(([name, description]): Flag => {
    const short = commands[command].letters?.[name]
    return { name, description, ...(short === undefined ? {} : { short }), commands: takersOf(command, name) }
  })
])

const common: ReadonlyArray<Flag> = everywhere.flatMap(([spelling, description = ""]) => {
  const match = /^-(.), --(.+)$/.exec(spelling)
  return match?.[1] === undefined || match[2] === undefined
    ? []
    : [{ short: match[1], name: match[2], description, commands: commandNames }]
})

const flags: ReadonlyArray<Flag> = [...own, ...shared, ...common]
const flagsOf = (command: CommandName) => flags.filter((flag) => flag.commands.includes(command))
const valued = [...new Set(flags.flatMap((flag) => flag.value === undefined ? [] : [`--${flag.name}`]))]

const dashed = (flag: Flag): ReadonlyArray<string> => [
  ...(flag.short === undefined ? [] : [`-${flag.short}`]),
  `--${flag.name}`
]

/** Quotes a text in single quotes, for bash and zsh. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

const indented = (lines: ReadonlyArray<string>, by: string): ReadonlyArray<string> =>
  lines.map((line) => `${by}${line}`)

/** Shell code that finds the state folder, by the same rules as `PlatformFolders`. */
const stateFolder: ReadonlyArray<string> = [
  "local root=\"$HOME/.local/state/gateway-lock\"",
  "[[ $XDG_STATE_HOME == /* ]] && root=\"$XDG_STATE_HOME/gateway-lock\"",
  "[[ $OSTYPE == darwin* ]] && root=\"$HOME/Library/Application Support/gateway-lock\""
]

// ---------------------------------------------------------------------------
// bash 3.2 and newer (macOS has 3.2)
// ---------------------------------------------------------------------------

const bashValue = (value: Value): string => {
  switch (value._tag) {
    case "Words":
      return `COMPREPLY=($(compgen -W ${quoted(value.words.join("\n"))} -- "$cur"))`
    case "File":
      return "compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$cur\"))"
    case "Directory":
      return "compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- \"$cur\"))"
    case "Profile":
      return "COMPREPLY=($(compgen -W \"$(_gateway_profiles)\" -- \"$cur\"))"
    case "Free":
      return ":"
  }
}

const bash = (): ReadonlyArray<string> => [
  "# bash completion of gateway. To enable it in this shell: source <(gateway completions bash)",
  "_gateway_profiles() {",
  ...indented(stateFolder, "  "),
  "  local folder",
  "  for folder in \"$root\"/*/; do",
  "    [[ -d $folder ]] || continue",
  "    folder=${folder%/}",
  "    printf '%s\\n' \"${folder##*/}\"",
  "  done",
  "}",
  "",
  "_gateway() {",
  "  local IFS=$'\\n' cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command='' argument='' words i",
  "  COMPREPLY=()",
  "  # bash splits --flag=value into three words.",
  "  if [[ $cur == '=' ]]; then",
  "    cur=''",
  "  elif [[ $prev == '=' ]]; then",
  "    prev=${COMP_WORDS[COMP_CWORD-2]}",
  "  fi",
  "  for ((i = 1; i < COMP_CWORD; i++)); do",
  "    case ${COMP_WORDS[i]} in",
  `      ${valued.join("|")})`,
  "        [[ ${COMP_WORDS[i+1]} == '=' ]] && ((i++))",
  "        ((i++)) ;;",
  "      -*|=) ;;",
  "      *)",
  "        if [[ -z $command ]]; then command=${COMP_WORDS[i]}; else argument=${COMP_WORDS[i]}; fi ;;",
  "    esac",
  "  done",
  "  case $prev in",
  ...flags.flatMap((flag) =>
    flag.value === undefined ? [] : [`    --${flag.name}) ${bashValue(flag.value)}; return ;;`]
  ),
  "  esac",
  "  case ${command:-run} in",
  ...commandNames.map((name) => `    ${name}) words=${quoted(flagsOf(name).flatMap(dashed).join("\n"))} ;;`),
  "    *) return ;;",
  "  esac",
  "  if [[ $cur != -* ]]; then",
  "    words=''",
  "    case $command in",
  `      '') words=${quoted(commandNames.join("\n"))} ;;`,
  ...commandNames.flatMap((name) => {
    const { argument } = commands[name]
    return argument === undefined
      ? []
      : [`      ${name}) [[ -z $argument ]] && words=${quoted(argument.allowed.join("\n"))} ;;`]
  }),
  "    esac",
  "  fi",
  "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))",
  "}",
  "",
  "complete -F _gateway gateway"
]

// ---------------------------------------------------------------------------
// zsh: zshcompsys(1)
// ---------------------------------------------------------------------------

/** Escapes a text for an argument specification of the zsh function `_arguments`. */
const zshText = (text: string): string => text.replace(/[\\[\]:]/g, "\\$&")

const zshAction = (value: Value): string => {
  switch (value._tag) {
    case "Words":
      return `(${value.words.join(" ")})`
    case "File":
      return "_files"
    case "Directory":
      return "_files -/"
    case "Profile":
      return "_gateway_profiles"
    case "Free":
      return " "
  }
}

const zshSpecs = (flag: Flag): ReadonlyArray<string> =>
  dashed(flag).map((spelling) => {
    const others = dashed(flag).join(" ")
    const text = zshText(flag.description)
    return quoted(
      flag.value === undefined
        ? `(${others})${spelling}[${text}]`
        : `(${others})${spelling}=[${text}]:${flag.name}:${zshAction(flag.value)}`
    )
  })

const zshWords = (words: ReadonlyArray<readonly [word: string, description: string]>): string =>
  `((${words.map(([word, description]) => `${word}\\:${JSON.stringify(zshText(description))}`).join(" ")}))`

const zsh = (): ReadonlyArray<string> => [
  "#compdef gateway",
  "# zsh completion of gateway. To enable it in this shell, after compinit: source <(gateway completions zsh)",
  "_gateway_profiles() {",
  ...indented(stateFolder, "  "),
  "  local -a profiles",
  "  profiles=(\"$root\"/*(N/:t))",
  "  compadd -a profiles",
  "}",
  "",
  "_gateway() {",
  "  local word command='' skip=''",
  "  local -i i",
  "  local -a specs",
  "  for ((i = 2; i < CURRENT; i++)); do",
  "    word=$words[i]",
  "    if [[ -n $skip ]]; then skip=''; continue; fi",
  "    case $word in",
  `      (${valued.join("|")}) skip=yes ;;`,
  "      (-*) ;;",
  "      (*) command=$word; break ;;",
  "    esac",
  "  done",
  "  case ${command:-run} in",
  ...commandNames.flatMap((name) => {
    const { argument } = commands[name]
    return [
      `    (${name})`,
      "      specs=(",
      ...indented(flagsOf(name).flatMap(zshSpecs), "        "),
      ...(argument === undefined ? [] : [`        ${quoted(`2:${argument.name}:(${argument.allowed.join(" ")})`)}`]),
      "      ) ;;"
    ]
  }),
  "  esac",
  `  _arguments -S $specs ${
    quoted(`1:command:${zshWords(commandNames.map((name) => [name, commands[name].description]))}`)
  }`,
  "}",
  "",
  "# If zsh autoloads this file from $fpath, the file is the function. If the file is sourced, it registers the function.",
  "if [[ $funcstack[1] == _gateway ]]; then",
  "  _gateway \"$@\"",
  "else",
  "  compdef _gateway gateway",
  "fi"
]

// ---------------------------------------------------------------------------
// fish: complete(1)
// ---------------------------------------------------------------------------

const fishQuoted = (text: string): string => `'${text.replace(/['\\]/g, "\\$&")}'`

const fishValue = (value: Value | undefined): string => {
  if (value === undefined) return ""
  switch (value._tag) {
    case "Words":
      return ` -x -a ${fishQuoted(value.words.join(" "))}`
    case "File":
      return " -r -F"
    case "Directory":
      return " -x -a '(__fish_complete_directories (commandline -ct))'"
    case "Profile":
      return " -x -a '(__gateway_profiles)'"
    case "Free":
      return " -x"
  }
}

const fish = (): ReadonlyArray<string> => [
  "# fish completion of gateway. To enable it in this shell: gateway completions fish | source",
  "function __gateway_profiles",
  "    set -l root $HOME/.local/state",
  "    string match -q '/*' -- \"$XDG_STATE_HOME\"; and set root $XDG_STATE_HOME",
  "    test (uname) = Darwin; and set root \"$HOME/Library/Application Support\"",
  "    for folder in $root/gateway-lock/*/",
  "        string replace -r '^.*/([^/]+)/$' '$1' -- $folder",
  "    end",
  "end",
  "",
  "# The words before the cursor that are neither flags nor values of flags.",
  "function __gateway_words",
  "    set -l skip no",
  "    for word in (commandline -opc)[2..-1]",
  "        if test $skip = yes",
  "            set skip no",
  "            continue",
  "        end",
  "        switch $word",
  `            case ${valued.join(" ")}`,
  "                set skip yes",
  "            case '-*'",
  "            case '*'",
  "                echo -- $word",
  "        end",
  "    end",
  "end",
  "",
  "# Whether one of these commands was typed. No command means run.",
  "function __gateway_is",
  "    set -l words (__gateway_words) run",
  "    contains -- $words[1] $argv",
  "end",
  "",
  "# Whether exactly this number of words was typed.",
  "function __gateway_typed --argument-names count",
  "    test (count (__gateway_words)) -eq $count",
  "end",
  "",
  "complete -c gateway -f",
  ...commandNames.map((name) =>
    `complete -c gateway -n '__gateway_typed 0' -a ${name} -d ${fishQuoted(commands[name].description)}`
  ),
  ...commandNames.flatMap((name) => {
    const { argument } = commands[name]
    return argument === undefined
      ? []
      : [
        `complete -c gateway -n '__gateway_is ${name}; and __gateway_typed 1' -a ${
          fishQuoted(argument.allowed.join(" "))
        }`
      ]
  }),
  ...flags.map((flag) =>
    `complete -c gateway -n ${fishQuoted(`__gateway_is ${flag.commands.join(" ")}`)}${
      flag.short === undefined ? "" : ` -s ${flag.short}`
    } -l ${flag.name}${fishValue(flag.value)} -d ${fishQuoted(flag.description)}`
  )
]

const scripts: Record<Shell, () => ReadonlyArray<string>> = { bash, zsh, fish }

/** The completion script for a shell. It ends with a newline. */
export const script = (shell: Shell): string => `${scripts[shell]().join("\n")}\n`
