/**
 * What was typed: a command, its flags, or a mistake.
 *
 * `node:util`'s parser splits the words (it costs nothing to load, which a refused start notices); what each flag means
 * is the settings table's business.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { parseArgs } from "node:util"
import { suggest } from "../internal/suggest.ts"
import { type Setting, settings } from "../settings/GatewayConfig.ts"
import type { Manager } from "../supervisor/ServiceOptions.ts"
import * as ExitStatus from "./ExitStatus.ts"

/** A command line that cannot be understood. Exit status 64. */
export class UsageError extends Data.TaggedError("UsageError")<{
  readonly reason: string
  /** Whose page explains it; absent: the whole page. */
  readonly command?: string
}> {
  /** The command that shows what is allowed. */
  get help(): string {
    return this.command === undefined ? "gateway --help" : `gateway ${this.command} --help`
  }
  override get message() {
    return `${this.reason}; see "${this.help}"`
  }
}

export type CommandLine =
  /** Of one command, or of all. */
  | { readonly _tag: "Help"; readonly command?: CommandName }
  | { readonly _tag: "Version" }
  | {
    readonly _tag: "Run"
    readonly flags: ReadonlyMap<string, string>
    /** Wait for the present owner to end, for as long as it takes. */
    readonly standby: boolean
    /** Be content with this very gateway running healthy already. */
    readonly ensure: boolean
    /** Ask a verified owner to end first, and end it if it does not. */
    readonly force: boolean
  }
  | { readonly _tag: "Status"; readonly flags: ReadonlyMap<string, string>; readonly json: boolean }
  | { readonly _tag: "Health"; readonly flags: ReadonlyMap<string, string> }
  | { readonly _tag: "List"; readonly flags: ReadonlyMap<string, string>; readonly json: boolean }
  | {
    readonly _tag: "Stop"
    readonly flags: ReadonlyMap<string, string>
    /** As it was typed. */
    readonly timeout: string | undefined
    /** End an owner that does not end in time. */
    readonly force: boolean
  }
  | { readonly _tag: "Doctor"; readonly flags: ReadonlyMap<string, string>; readonly json: boolean }
  | {
    readonly _tag: "Service"
    readonly flags: ReadonlyMap<string, string>
    readonly action: ServiceAction
    /** Default: what this platform has. */
    readonly manager: string | undefined
    readonly system: boolean
    /** Who runs a service of the system. */
    readonly user: string | undefined
    readonly dryRun: boolean
  }
  | { readonly _tag: "Completions"; readonly shell: Shell }

const serviceActions = ["print", "install", "uninstall"] as const

/** What `gateway service` can be asked for. */
export type ServiceAction = typeof serviceActions[number]

/** The shells that completions can be written for. */
export const shells = ["bash", "zsh", "fish"] as const

export type Shell = typeof shells[number]

export type CommandName =
  | "run"
  | "status"
  | "health"
  | "stop"
  | "list"
  | "doctor"
  | "service"
  | "completions"

/** A flag with a value that only one command has. */
export interface CommandValue {
  readonly placeholder: string
  readonly description: string
  /** The words that it can be, where these are few. */
  readonly values?: ReadonlyArray<string>
}

/**
 * A command: what it does, the word that must follow it, the flags that only it has, the settings that matter to it and
 * how it can end. Help, completions and the man page follow it.
 */
export interface Command {
  readonly description: string
  readonly argument?: { readonly name: string; readonly allowed: ReadonlyArray<string> }
  readonly switches: Readonly<Record<string, string>>
  readonly values: Readonly<Record<string, CommandValue>>
  readonly settings: ReadonlyArray<Setting<unknown>>
  /** Besides those that every command can end with. */
  readonly exits: ReadonlyArray<ExitStatus.Description>
}

const json = { json: "for programs: one JSON text on stdout" } as const

const allSettings: ReadonlyArray<Setting<unknown>> = Object.values(settings)

/** How errors are told. */
const telling: ReadonlyArray<Setting<unknown>> = [settings.logFormat, settings.logLevel]

/** Which gateway is meant. */
const meaning: ReadonlyArray<Setting<unknown>> = [
  settings.profile,
  settings.port,
  settings.host,
  settings.configPath,
  settings.stateDir,
  ...telling
]

/** The commands there are. */
export const commands: Readonly<Record<CommandName, Command>> = {
  run: {
    description: "start the gateway and stay (also without a command)",
    switches: {
      standby: "wait, for as long as it takes, for the present owner to end, then take over",
      ensure: "exit 0 at once where this very gateway already runs healthy",
      force: "end a verified owner first: SIGTERM, then SIGKILL; never a process that cannot be verified"
    },
    values: {},
    settings: allSettings,
    exits: ExitStatus.ofRun
  },
  status: {
    description: "who holds this gateway's lock and port, and is it healthy",
    switches: json,
    values: {},
    settings: meaning,
    // As the Linux Standard Base has it for the status action of an init script.
    exits: [
      [ExitStatus.ExitStatus.ok, "it runs and is healthy"],
      [ExitStatus.ExitStatus.failure, "it does not run, and a lock file remains"],
      [ExitStatus.ExitStatus.notRunning, "it does not run"],
      [
        ExitStatus.ExitStatus.otherwise,
        "anything else: starting, draining, unhealthy, a stranger on the port, or it cannot be told"
      ]
    ]
  },
  health: {
    description: "exit 0 if this gateway is healthy, else 1; for probes",
    switches: {},
    values: {},
    settings: meaning,
    exits: [[0, "it answers, healthy, and is this gateway"], [1, "it does not"]]
  },
  stop: {
    description: "end the verified owner, and return when the lock is free",
    switches: { force: "SIGKILL an owner that does not end in time" },
    values: {
      timeout: {
        placeholder: "<duration>",
        description: "how long it may take; default: the drain timeout and 5 seconds"
      }
    },
    settings: [...meaning, settings.drainTimeout],
    exits: [[0, "it has ended, or did not run"], [1, "it did not end in time, or cannot be verified"]]
  },
  list: {
    description: "every gateway of this user on this host",
    switches: json,
    values: {},
    settings: telling,
    exits: [[0, "always, however many there are"]]
  },
  doctor: {
    description: "what is wrong here, and the command that mends it",
    switches: json,
    values: {},
    settings: meaning,
    exits: [[0, "nothing is wrong"], [1, "something is, and was told"]]
  },
  service: {
    description: "the definition that makes a supervisor run this gateway",
    argument: { name: "action", allowed: serviceActions },
    switches: {
      system: "for the whole machine instead of this user",
      "dry-run": "show what would be done, and do nothing"
    },
    values: {
      manager: {
        placeholder: "<name>",
        description: "systemd, launchd or schtasks; default: the platform's",
        values: ["systemd", "launchd", "schtasks"] satisfies ReadonlyArray<Manager>
      },
      user: {
        placeholder: "<name>",
        description: "with --system: the user that it runs as; default on systemd: one that exists only while it runs"
      }
    },
    settings: allSettings,
    exits: [[0, "it was done"], [1, "it could not be done"]]
  },
  completions: {
    description: "the script that completes this command line in a shell",
    argument: { name: "shell", allowed: shells },
    switches: {},
    values: {},
    settings: [],
    exits: [[0, "always"]]
  }
}

export const commandNames: ReadonlyArray<CommandName> = Object.keys(commands).filter((name): name is CommandName =>
  Object.hasOwn(commands, name)
)

const isCommand = (word: string): word is keyof typeof commands => Object.hasOwn(commands, word)
const isServiceAction = (word: string | undefined): word is ServiceAction =>
  serviceActions.some((action) => action === word)
const isShell = (word: string | undefined): word is Shell => shells.some((shell) => shell === word)

const settingFlags: ReadonlyMap<string, string> = new Map(
  Object.values(settings).flatMap((setting) =>
    setting.flag === undefined ? [] : [[setting.flag, setting.placeholder] as const]
  )
)

const shorts = { h: "help", V: "version" } as const
const isShort = (name: string): name is keyof typeof shorts => Object.hasOwn(shorts, name)

/** What a flag of any command is, before it is known which command was typed. */
const allValues: ReadonlyMap<string, string> = new Map([
  ...settingFlags,
  ...Object.values(commands).flatMap((command) =>
    Object.entries(command.values).map(([name, { placeholder }]) => [name, placeholder] as const)
  )
])

const quote = (word: string): string => JSON.stringify(word)

/** ` (did you mean …?)`, where a known word is near. */
const meant = (typed: string, known: Iterable<string>, before = ""): string => {
  const near = suggest(typed, known)
  return near === undefined ? "" : ` (did you mean ${quote(`${before}${near}`)}?)`
}

/** Every flag that a command takes, without dashes. */
const flagsOf = (command: Command | undefined): ReadonlyArray<string> => [
  ...Object.keys(command?.switches ?? {}),
  ...Object.keys(command?.values ?? {}),
  ...settingFlags.keys(),
  "help",
  "version"
]

/** The command among the words, whatever else is wrong with them: its page explains the mistake. */
const typedCommand = (words: ReadonlyArray<string>): CommandName | undefined => {
  const [word] = words
  return word !== undefined && isCommand(word) ? word : undefined
}

/** The last value of a flag among words that need not make sense. */
export const lastValue = (argv: ReadonlyArray<string>, flag: string): string | undefined => {
  const end = argv.indexOf("--")
  const words = end === -1 ? argv : argv.slice(0, end)
  const at = words.findLastIndex((word) => word === `--${flag}` || word.startsWith(`--${flag}=`))
  return words[at]?.includes("=") === true ? words[at].slice(flag.length + 3) : at === -1 ? undefined : words[at + 1]
}

/** The words that were typed, sorted: not yet checked against a command. */
interface Typed {
  /** The command's name and its arguments. */
  readonly words: ReadonlyArray<string>
  readonly values: ReadonlyMap<string, string>
  readonly switches: ReadonlySet<string>
  /** Each flag's last spelling, by its name. */
  readonly spelling: ReadonlyMap<string, string>
  readonly refuse: (reason: string) => UsageError
  readonly unknownFlag: (spelt: string) => UsageError
}

/** Sorts the words. Fails where a value is missing or too many. */
const readWords = (argv: ReadonlyArray<string>): Effect.Effect<Typed, UsageError> =>
  Effect.gen(function*() {
    const { tokens } = parseArgs({
      args: [...argv],
      options: Object.fromEntries([...allValues.keys()].map((name) => [name, { type: "string" as const }])),
      strict: false,
      allowPositionals: true,
      tokens: true
    })
    const words = tokens.flatMap((token) => token.kind === "positional" ? [token.value] : [])
    const command = typedCommand(words)
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
    return { words, values, switches, spelling, refuse, unknownFlag }
  })

/** Fails where a flag is not one of the command's. */
const checkFlags = (word: string, typed: Typed): Effect.Effect<void, UsageError> =>
  Effect.gen(function*() {
    const { refuse, spelling, switches, unknownFlag, values } = typed
    const known = isCommand(word) ? commands[word] : undefined
    for (const name of [...switches, ...values.keys()]) {
      if (name === "help" || name === "version" || settingFlags.has(name)) continue
      if (known === undefined || !(Object.hasOwn(known.switches, name) || Object.hasOwn(known.values, name))) {
        const spelt = spelling.get(name) ?? name
        return yield* isKnownSwitch(name) || allValues.has(name)
          ? refuse(`${spelt} is no flag of ${quote(word)}`)
          : unknownFlag(spelt)
      }
    }
  })

/**
 * Reads the words after the program's name. The last of a repeated flag counts.
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
      return yield* refuse(`unknown command ${quote(word)}${meant(word, names)}; commands: ${names.join(", ")}`)
    }
    const unexpected = commands[word].argument === undefined ? argument : extra[0]
    if (unexpected !== undefined) return yield* refuse(`unexpected argument ${quote(unexpected)}`)
    return yield* commandLine(word, argument, typed)
  })

/** A command with its flags. Fails where they exclude each other, or the argument is missing or unknown. */
const commandLine = (
  word: CommandName,
  argument: string | undefined,
  { refuse, switches, values }: Typed
): Effect.Effect<CommandLine, UsageError> =>
  Effect.gen(function*() {
    const flags = new Map([...values].filter(([name]) => settingFlags.has(name)))
    const needs = (allowed: ReadonlyArray<string>) =>
      refuse(`${word} needs one of ${allowed.join(", ")}${argument === undefined ? "" : meant(argument, allowed)}`)
    switch (word) {
      case "run":
        if (switches.has("standby") && switches.has("ensure")) {
          return yield* refuse("--standby and --ensure exclude each other")
        }
        if (switches.has("force") && (switches.has("standby") || switches.has("ensure"))) {
          return yield* refuse("--force excludes --standby and --ensure")
        }
        return {
          _tag: "Run",
          flags,
          standby: switches.has("standby"),
          ensure: switches.has("ensure"),
          force: switches.has("force")
        }
      case "status":
        return { _tag: "Status", flags, json: switches.has("json") }
      case "health":
        return { _tag: "Health", flags }
      case "list":
        return { _tag: "List", flags, json: switches.has("json") }
      case "doctor":
        return { _tag: "Doctor", flags, json: switches.has("json") }
      case "stop":
        return { _tag: "Stop", flags, timeout: values.get("timeout"), force: switches.has("force") }
      case "service":
        if (!isServiceAction(argument)) return yield* needs(serviceActions)
        if (values.has("user") && !switches.has("system")) {
          return yield* refuse("--user needs --system: a service of a user runs as that user")
        }
        return {
          _tag: "Service",
          flags,
          action: argument,
          manager: values.get("manager"),
          system: switches.has("system"),
          user: values.get("user"),
          dryRun: switches.has("dry-run")
        }
      case "completions":
        if (!isShell(argument)) return yield* needs(shells)
        return { _tag: "Completions", shell: argument }
    }
  })

const isKnownSwitch = (name: string): boolean =>
  name === "help" || name === "version" ||
  Object.values(commands).some((command) => Object.hasOwn(command.switches, name))
