/**
 * What was typed: a command, its flags, or a mistake.
 *
 * `node:util`'s parser splits the words (it costs nothing to load, which a refused start notices); what each flag means
 * is the settings table's business.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { parseArgs } from "node:util"
import { settings } from "../GatewayConfig.ts"

/** A command line that cannot be understood. Exit status 64. */
export class UsageError extends Schema.TaggedError<UsageError>("gateway-lock/UsageError")("UsageError", {
  reason: Schema.String
}) {
  override get message() {
    return `${this.reason}; see "gateway --help"`
  }
}

export type CommandLine =
  | { readonly _tag: "Help" }
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
    readonly dryRun: boolean
  }

const serviceActions = ["print", "install", "uninstall"] as const

/** What `gateway service` can be asked for. */
export type ServiceAction = typeof serviceActions[number]

/** A command: what it does, the word that must follow it, and the flags that only it has. */
interface Command {
  readonly description: string
  readonly argument?: { readonly name: string; readonly allowed: ReadonlyArray<string> }
  readonly switches: Readonly<Record<string, string>>
  readonly values: Readonly<Record<string, { readonly placeholder: string; readonly description: string }>>
}

const json = { json: "for programs: one JSON text on stdout" } as const

/** The commands there are. */
export const commands: Readonly<
  Record<"run" | "status" | "health" | "stop" | "list" | "doctor" | "service", Command>
> = {
  run: {
    description: "start the gateway and stay (also without a command)",
    switches: {
      standby: "wait, for as long as it takes, for the present owner to end, then take over",
      ensure: "exit 0 at once where this very gateway already runs healthy",
      force: "end a verified owner first: SIGTERM, then SIGKILL; never a process that cannot be verified"
    },
    values: {}
  },
  status: { description: "who holds this gateway's lock and port, and is it healthy", switches: json, values: {} },
  health: { description: "exit 0 if this gateway is healthy, else 1; for probes", switches: {}, values: {} },
  stop: {
    description: "end the verified owner, and return when the lock is free",
    switches: { force: "SIGKILL an owner that does not end in time" },
    values: {
      timeout: {
        placeholder: "<duration>",
        description: "how long it may take; default: the drain timeout and 5 seconds"
      }
    }
  },
  list: { description: "every gateway of this user on this host", switches: json, values: {} },
  doctor: { description: "what is wrong here, and the command that mends it", switches: json, values: {} },
  service: {
    description: "the definition that makes a supervisor run this gateway",
    argument: { name: "action", allowed: serviceActions },
    switches: {
      system: "for the whole machine instead of this user",
      "dry-run": "show what would be done, and do nothing"
    },
    values: { manager: { placeholder: "<name>", description: "systemd, launchd or schtasks; default: the platform's" } }
  }
}

const isCommand = (word: string): word is keyof typeof commands => Object.hasOwn(commands, word)
const isServiceAction = (word: string): word is ServiceAction => serviceActions.some((action) => action === word)

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

const refuse = (reason: string) => new UsageError({ reason })

/**
 * Reads the words after the program's name. The last of a repeated flag counts.
 */
export const parse = (argv: ReadonlyArray<string>): Effect.Effect<CommandLine, UsageError> =>
  Effect.gen(function*() {
    const { tokens } = parseArgs({
      args: [...argv],
      options: Object.fromEntries([...allValues.keys()].map((name) => [name, { type: "string" as const }])),
      strict: false,
      allowPositionals: true,
      tokens: true
    })
    const values = new Map<string, string>()
    const switches = new Set<string>()
    const spelling = new Map<string, string>()
    const words: Array<string> = []
    for (const token of tokens) {
      if (token.kind === "positional") words.push(token.value)
      if (token.kind !== "option") continue
      const { rawName, value } = token
      const name = isShort(token.name) ? shorts[token.name] : token.name
      const placeholder = allValues.get(name)
      spelling.set(name, rawName)
      if (placeholder === undefined) {
        if (value !== undefined) {
          return yield* refuse(isKnownSwitch(name) ? `${rawName} takes no value` : `unknown flag ${quote(rawName)}`)
        }
        switches.add(name)
      } else if (value === undefined || (value.startsWith("-") && token.inlineValue !== true)) {
        return yield* refuse(`${rawName} needs a value: ${rawName} ${placeholder}`)
      } else {
        values.set(name, value)
      }
    }

    const [word = "run", argument, ...extra] = words
    const known = isCommand(word) ? commands[word] : undefined
    for (const name of [...switches, ...values.keys()]) {
      if (name === "help" || name === "version" || settingFlags.has(name)) continue
      if (known === undefined || !(Object.hasOwn(known.switches, name) || Object.hasOwn(known.values, name))) {
        return yield* refuse(
          isKnownSwitch(name) || allValues.has(name)
            ? `${spelling.get(name)} is no flag of ${quote(word)}`
            : `unknown flag ${quote(spelling.get(name) ?? name)}`
        )
      }
    }
    if (switches.has("help")) return { _tag: "Help" }
    if (switches.has("version")) return { _tag: "Version" }
    if (!isCommand(word)) {
      return yield* refuse(`unknown command ${quote(word)}; commands: ${Object.keys(commands).join(", ")}`)
    }
    const flags = new Map([...values].filter(([name]) => settingFlags.has(name)))
    const unexpected = commands[word].argument === undefined ? argument : extra[0]
    if (unexpected !== undefined) return yield* refuse(`unexpected argument ${quote(unexpected)}`)
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
        if (argument === undefined || !isServiceAction(argument)) {
          return yield* refuse(`service needs one of ${serviceActions.join(", ")}`)
        }
        return {
          _tag: "Service",
          flags,
          action: argument,
          manager: values.get("manager"),
          system: switches.has("system"),
          dryRun: switches.has("dry-run")
        }
    }
  })

const isKnownSwitch = (name: string): boolean =>
  name === "help" || name === "version" ||
  Object.values(commands).some((command) => Object.hasOwn(command.switches, name))
