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
  | { readonly _tag: "Run"; readonly flags: ReadonlyMap<string, string> }

/** The commands there are, with what each does. */
export const commands = {
  run: "start the gateway and stay (also without a command)"
} as const

const valueFlags: ReadonlyMap<string, string> = new Map(
  Object.values(settings).flatMap((setting) =>
    setting.flag === undefined ? [] : [[setting.flag, setting.placeholder] as const]
  )
)

const booleanFlags = { help: { type: "boolean", short: "h" }, version: { type: "boolean", short: "V" } } as const

const quote = (word: string): string => JSON.stringify(word)

/**
 * Reads the words after the program's name. The last of a repeated flag counts.
 */
export const parse = (argv: ReadonlyArray<string>): Effect.Effect<CommandLine, UsageError> =>
  Effect.gen(function*() {
    const { tokens } = parseArgs({
      args: [...argv],
      options: {
        ...booleanFlags,
        ...Object.fromEntries([...valueFlags.keys()].map((name) => [name, { type: "string" as const }]))
      },
      strict: false,
      allowPositionals: true,
      tokens: true
    })
    const flags = new Map<string, string>()
    const words: Array<string> = []
    let help = false
    let version = false
    for (const token of tokens) {
      if (token.kind === "positional") {
        words.push(token.value)
      } else if (token.kind === "option") {
        const { name, rawName, value } = token
        if (name === "help" || name === "version") {
          if (value !== undefined) return yield* new UsageError({ reason: `${rawName} takes no value` })
          if (name === "help") help = true
          else version = true
          continue
        }
        const placeholder = valueFlags.get(name)
        if (placeholder === undefined) return yield* new UsageError({ reason: `unknown flag ${quote(rawName)}` })
        if (value === undefined || (value.startsWith("-") && token.inlineValue !== true)) {
          return yield* new UsageError({ reason: `${rawName} needs a value: ${rawName} ${placeholder}` })
        }
        flags.set(name, value)
      }
    }
    if (help) return { _tag: "Help" }
    if (version) return { _tag: "Version" }
    const [command = "run", extra] = words
    if (!Object.hasOwn(commands, command)) {
      return yield* new UsageError({
        reason: `unknown command ${quote(command)}; commands: ${Object.keys(commands).join(", ")}`
      })
    }
    if (extra !== undefined) return yield* new UsageError({ reason: `unexpected argument ${quote(extra)}` })
    return { _tag: "Run", flags }
  })
