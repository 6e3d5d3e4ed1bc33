/**
 * Parses the command line into a command with its flags, or fails with a usage error.
 *
 * `parseArgs` of `node:util` splits the words. It is part of Node, so a start that fails because a gateway already runs does
 * not have to load a parser. The table `settings` in `settings/GatewayConfig.ts` defines what each flag means.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { parseArgs } from "node:util"
import { suggest } from "../internal/suggest.ts"
import {
  type Command,
  type CommandName,
  commands,
  flagsOf as ownFlagsOf,
  isControlAction,
  type LeaderAction,
  leaderActions,
  type ServiceAction,
  serviceActions,
  type Shell,
  shells
} from "./commands.ts"
import type { ExecCommandLine, Reported } from "./parsedCommands.ts"
import { allValues, namesCommand, settingFlags } from "./typedWords.ts"

export type { ExecCommandLine } from "./parsedCommands.ts"

export {
  type Command,
  type CommandName,
  commands,
  type CommandValue,
  type ServiceAction,
  type Shell,
  shells
} from "./commands.ts"

/** The command line is not valid. Exit status 64. */
export class UsageError extends Data.TaggedError("UsageError")<{
  readonly reason: string
  /** The command whose help explains the mistake. If absent, the message refers to the help of the whole program. */
  readonly command?: string
}> {
  /** The command that prints the help. */
  get help(): string {
    return this.command === undefined ? "gateway --help" : `gateway ${this.command} --help`
  }
  override get message() {
    return `${this.reason}; see "${this.help}"`
  }
}

export type CommandLine =
  /** The help of one command, or of the whole program. */
  | { readonly _tag: "Help"; readonly command?: CommandName }
  | { readonly _tag: "Version" }
  | {
    readonly _tag: "Run"
    readonly flags: ReadonlyMap<string, string>
    /** Wait without a time limit until the process that holds the lock ends, then take over its lock. */
    readonly standby: boolean
    /** Succeed if this gateway is already running and healthy. */
    readonly ensure: boolean
    /**
     * Before the start, stop the process that holds the lock. Send it SIGTERM, and SIGKILL if it has not ended within the default
     * timeout of `gateway stop`. A process that cannot be verified as the owner of the lock gets no signal.
     */
    readonly force: boolean
  }
  | ExecCommandLine
  | { readonly _tag: "Status" } & Reported
  | { readonly _tag: "Health"; readonly flags: ReadonlyMap<string, string> }
  | { readonly _tag: "List" } & Reported
  | {
    readonly _tag: "Stop"
    readonly flags: ReadonlyMap<string, string>
    /** The value as typed, not yet parsed. */
    readonly timeout: string | undefined
    /** Send SIGKILL to the process that owns the lock if it does not end within `timeout`. */
    readonly force: boolean
  }
  | {
    readonly _tag: "Leader"
    readonly flags: ReadonlyMap<string, string>
    readonly action: LeaderAction
    readonly json: boolean
  }
  | { readonly _tag: "Doctor"; readonly flags: ReadonlyMap<string, string>; readonly json: boolean }
  | {
    readonly _tag: "Service"
    readonly flags: ReadonlyMap<string, string>
    readonly action: ServiceAction
    /** The service manager as typed. Default: the manager of this platform. */
    readonly manager: string | undefined
    readonly system: boolean
    /** The user that a system service runs as. */
    readonly user: string | undefined
    readonly dryRun: boolean
    /** The command that the service runs by `gateway exec`. `undefined`: the service runs a gateway. */
    readonly exec: ExecCommandLine | undefined
    /** With `logs`: keep showing new lines. */
    readonly follow: boolean
    /** With `logs`: the number of lines, as typed. */
    readonly lines: string | undefined
  }
  | { readonly _tag: "Completions"; readonly shell: Shell }

export const commandNames: ReadonlyArray<CommandName> = Object.keys(commands).filter((name): name is CommandName =>
  Object.hasOwn(commands, name)
)

const isCommand = (word: string): word is keyof typeof commands => Object.hasOwn(commands, word)
const isLeaderAction = (word: string | undefined): word is LeaderAction =>
  leaderActions.some((action) => action === word)
const isServiceAction = (word: string | undefined): word is ServiceAction =>
  serviceActions.some((action) => action === word)
const isShell = (word: string | undefined): word is Shell => shells.some((shell) => shell === word)

const shorts = { h: "help", V: "version", f: "follow" } as const
const isShort = (name: string): name is keyof typeof shorts => Object.hasOwn(shorts, name)

const quote = (word: string): string => JSON.stringify(word)

/** ` (did you mean …?)` if a known word is similar; otherwise an empty string. */
const meant = (typed: string, known: Iterable<string>, before = ""): string => {
  const near = suggest(typed, known)
  return near === undefined ? "" : ` (did you mean ${quote(`${before}${near}`)}?)`
}

/** All flags that a command accepts, without dashes. */
const flagsOf = (command: Command): ReadonlyArray<string> => [
  ...Object.keys(ownFlagsOf(command).switches),
  ...Object.keys(ownFlagsOf(command).values),
  ...settingFlags.keys(),
  "help",
  "version"
]

/**
 * The command that the first word names, even if the other words are not valid. A usage error then refers to the help of
 * that command.
 */
const typedCommand = (words: ReadonlyArray<string>): CommandName | undefined => {
  const [word] = words
  return word !== undefined && isCommand(word) ? word : undefined
}

/** The typed words, split into positional words and flags, but not yet checked against a command. */
interface Typed {
  /** The command's name and its arguments. */
  readonly words: ReadonlyArray<string>
  /** The words after `--`, for a command that takes another program's command line. `undefined` if there is no `--`. */
  readonly program: ReadonlyArray<string> | undefined
  readonly values: ReadonlyMap<string, string>
  readonly switches: ReadonlySet<string>
  /** Maps the name of each flag to the form in which it was last typed, for example `help` to `-h`. */
  readonly spelling: ReadonlyMap<string, string>
  readonly refuse: (reason: string) => UsageError
  readonly unknownFlag: (spelt: string) => UsageError
}

/** Splits the words. Fails if a flag lacks its value, or has a value that it does not take. */
const readWords = (argv: ReadonlyArray<string>): Effect.Effect<Typed, UsageError> =>
  Effect.gen(function*() {
    const end = argv.indexOf("--")
    const takesProgram = namesCommand(argv, "exec") || namesCommand(argv, "service")
    const program = end !== -1 && takesProgram ? argv.slice(end + 1) : undefined
    const { tokens } = parseArgs({
      args: program === undefined ? [...argv] : argv.slice(0, end),
      options: Object.fromEntries([...allValues.keys()].map((name) => [name, { type: "string" as const }])),
      strict: false,
      allowPositionals: true,
      tokens: true
    })
    const words = tokens.flatMap((token) => token.kind === "positional" ? [token.value] : [])
    // Flags without a command are those of `run`, whose help has them all. The first word can be the value of a misspelt flag.
    const command = typedCommand(words) ?? (argv[0]?.startsWith("-") === true ? "run" : undefined)
    const refuse = (reason: string) => new UsageError({ reason, ...(command === undefined ? {} : { command }) })
    const unknownFlag = (spelt: string) =>
      refuse(
        `unknown flag ${quote(spelt)}${meant(spelt.replace(/^-+/, ""), flagsOf(commands[command ?? "run"]), "--")}`
      )
    const values = new Map<string, string>()
    const switches = new Set<string>()
    const spelling = new Map<string, string>()
    for (const token of tokens) {
      if (token.kind !== "option") continue
      const { rawName, value } = token
      const name = isShort(token.name) ? shorts[token.name] : token.name
      const placeholder = allValues.get(name)
      spelling.set(name, rawName)
      if (placeholder === undefined) {
        if (value !== undefined) {
          return yield* isKnownSwitch(name) ? refuse(`${rawName} takes no value`) : unknownFlag(rawName)
        }
        switches.add(name)
      } else if (value === undefined || (value.startsWith("-") && token.inlineValue !== true)) {
        return yield* refuse(`${rawName} needs a value: ${rawName} ${placeholder}`)
      } else {
        values.set(name, value)
      }
    }
    return { words, program, values, switches, spelling, refuse, unknownFlag }
  })

/** Fails if a flag does not belong to the command. */
const checkFlags = (word: string, typed: Typed): Effect.Effect<void, UsageError> =>
  Effect.gen(function*() {
    const { refuse, spelling, switches, unknownFlag, values } = typed
    const known = isCommand(word) ? ownFlagsOf(commands[word]) : undefined
    for (const name of [...switches, ...values.keys()]) {
      if (name === "help" || name === "version" || settingFlags.has(name)) continue
      if (known === undefined || !(Object.hasOwn(known.switches, name) || Object.hasOwn(known.values, name))) {
        const spelt = spelling.get(name) ?? name
        return yield* isKnownSwitch(name) || allValues.has(name)
          ? refuse(`${spelt} is not a flag of ${quote(word)}`)
          : unknownFlag(spelt)
      }
    }
  })

/**
 * Parses the words after the program's name. If a flag is repeated, the last value counts.
 */
export const parse = (argv: ReadonlyArray<string>): Effect.Effect<CommandLine, UsageError> =>
  Effect.gen(function*() {
    const typed = yield* readWords(argv)
    const { refuse, switches, words } = typed
    const [word = "run", argument, ...extra] = words
    yield* checkFlags(word, typed)
    const command = typedCommand(words)
    if (switches.has("help")) return command === undefined ? { _tag: "Help" } : { _tag: "Help", command }
    if (switches.has("version")) return { _tag: "Version" }
    if (!isCommand(word)) {
      const names = Object.keys(commands)
      return yield* new UsageError({
        reason: `unknown command ${quote(word)}${meant(word, names)}; commands: ${names.join(", ")}`
      })
    }
    if (commands[word].command === "required" && typed.program === undefined) {
      return yield* refuse(`${word} needs "--" before the command: gateway ${word} [flags] -- <command> [arguments]`)
    }
    const unexpected = commands[word].argument === undefined ? argument : extra[0]
    if (unexpected !== undefined) return yield* refuse(`unexpected argument ${quote(unexpected)}`)
    return yield* commandLine(word, argument, typed)
  })

/** Fails if the user typed flags of a start that cannot be combined. */
const checkStart = ({ refuse, switches }: Typed): Effect.Effect<void, UsageError> => {
  if (switches.has("standby") && switches.has("ensure")) return refuse("--standby and --ensure cannot be combined")
  return switches.has("force") && (switches.has("standby") || switches.has("ensure"))
    ? refuse("--force cannot be combined with --standby or --ensure")
    : Effect.void
}

const reported = (
  { refuse, switches, values }: Typed,
  flags: ReadonlyMap<string, string>
): Effect.Effect<Reported, UsageError> =>
  values.has("interval") && !switches.has("watch")
    ? refuse("--interval needs --watch")
    : Effect.succeed({
      flags,
      json: switches.has("json"),
      watch: switches.has("watch"),
      interval: values.get("interval")
    })

const execCommandLine = (
  { program = [], refuse, switches, values }: Typed,
  flags: ReadonlyMap<string, string>
): Effect.Effect<ExecCommandLine, UsageError> => {
  const [name, ...args] = program
  const own = commands.exec
  if (name === undefined || name === "") return refuse("exec needs a command after \"--\"")
  if (switches.has("listen") && switches.has("no-port")) {
    return refuse("--listen needs a port, so it cannot be combined with --no-port")
  }
  return Effect.succeed({
    _tag: "Exec",
    flags,
    ownFlags: [
      ...Object.keys(own.switches).filter((flag) => switches.has(flag)).map((flag) => `--${flag}`),
      ...Object.keys(own.values).flatMap((flag) => {
        const value = values.get(flag)
        return value === undefined ? [] : [`--${flag}=${value}`]
      })
    ],
    words: [name, ...args],
    standby: switches.has("standby"),
    ensure: switches.has("ensure"),
    force: switches.has("force"),
    hasPort: !switches.has("no-port"),
    listens: switches.has("listen"),
    toGroup: switches.has("group"),
    inheritsLock: !switches.has("no-inherit-lock"),
    diesWithWrapper: switches.has("die-with-wrapper"),
    ready: values.get("ready"),
    startTimeout: values.get("start-timeout"),
    stopTimeout: values.get("stop-timeout"),
    conflictStatus: values.get("conflict-exit-code")
  })
}

/** The usual command line of a service that runs a command. */
const serviceUsage = "gateway service install --exec [flags] -- <command> [arguments]"

/**
 * The part of the command line of `service` that is for `exec`. `undefined` without `--exec`. Only `print` and `install`
 * need the command. The other actions ignore it, so that the line of the installation works with them too.
 */
const serviceExec = (
  typed: Typed,
  action: ServiceAction,
  flags: ReadonlyMap<string, string>
): Effect.Effect<ExecCommandLine | undefined, UsageError> =>
  Effect.gen(function*() {
    const { program, refuse, spelling, switches, values } = typed
    const isExec = switches.has("exec")
    if (action === "uninstall" || isControlAction(action)) return undefined
    if (!isExec) {
      const flag = [...switches, ...values.keys()].find((name) => isFlagOf("exec", name) && !isFlagOf("service", name))
      if (flag !== undefined) return yield* refuse(`${spelling.get(flag) ?? flag} needs --exec: ${serviceUsage}`)
      return program === undefined ? undefined : yield* refuse(`a command needs --exec: ${serviceUsage}`)
    }
    if (program === undefined) return yield* refuse(`--exec needs "--" before the command: ${serviceUsage}`)
    return yield* execCommandLine(typed, flags)
  })

/** Whether a flag is one of the flags that only some commands have, and belongs to this command. */
const isFlagOf = (command: CommandName, flag: string): boolean =>
  Object.hasOwn(commands[command].switches, flag) || Object.hasOwn(commands[command].values, flag)

/** Builds a command from its flags. Fails if flags cannot be combined, or if the argument is missing or unknown. */
const commandLine = (
  word: CommandName,
  argument: string | undefined,
  typed: Typed
): Effect.Effect<CommandLine, UsageError> =>
  Effect.gen(function*() {
    const { refuse, switches, values } = typed
    const flags = new Map([...values].filter(([name]) => settingFlags.has(name)))
    const needs = (allowed: ReadonlyArray<string>) =>
      refuse(`${word} needs one of ${allowed.join(", ")}${argument === undefined ? "" : meant(argument, allowed)}`)
    switch (word) {
      case "run":
        yield* checkStart(typed)
        return {
          _tag: "Run",
          flags,
          standby: switches.has("standby"),
          ensure: switches.has("ensure"),
          force: switches.has("force")
        }
      case "exec": {
        yield* checkStart(typed)
        return yield* execCommandLine(typed, flags)
      }
      case "status":
        return { _tag: "Status", ...(yield* reported(typed, flags)) }
      case "health":
        return { _tag: "Health", flags }
      case "list":
        return { _tag: "List", ...(yield* reported(typed, flags)) }
      case "doctor":
        return { _tag: "Doctor", flags, json: switches.has("json") }
      case "stop":
        return { _tag: "Stop", flags, timeout: values.get("timeout"), force: switches.has("force") }
      case "service":
        if (!isServiceAction(argument)) return yield* needs(serviceActions)
        if (values.has("user") && !switches.has("system")) {
          return yield* refuse("--user needs --system, because a user's own service runs as that user")
        }
        for (const flag of ["follow", "lines"]) {
          if (argument !== "logs" && (switches.has(flag) || values.has(flag))) {
            return yield* refuse(`${typed.spelling.get(flag) ?? flag} needs service logs`)
          }
        }
        return {
          _tag: "Service",
          flags,
          action: argument,
          manager: values.get("manager"),
          system: switches.has("system"),
          user: values.get("user"),
          dryRun: switches.has("dry-run"),
          exec: yield* serviceExec(typed, argument, flags),
          follow: switches.has("follow"),
          lines: values.get("lines")
        }
      case "leader":
        if (!isLeaderAction(argument)) return yield* needs(leaderActions)
        if (argument === "resign" && switches.has("json")) return yield* refuse("--json needs leader show")
        return { _tag: "Leader", flags, action: argument, json: switches.has("json") }
      case "completions":
        if (!isShell(argument)) return yield* needs(shells)
        return { _tag: "Completions", shell: argument }
    }
  })

const isKnownSwitch = (name: string): boolean =>
  name === "help" || name === "version" ||
  Object.values(commands).some((command) => Object.hasOwn(command.switches, name))
