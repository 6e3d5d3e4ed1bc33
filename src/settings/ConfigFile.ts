/** Reads the config file, checks its JSON and its keys, and looks up the values in it. */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { realPath } from "../host/NativeFiles.ts"
import { describePlatformError, isNotFound } from "../internal/describeError.ts"
import { jsonFault } from "../internal/jsonFault.ts"
import { printable } from "../internal/printable.ts"
import { readStream } from "../internal/readStream.ts"
import type { Given, LeaseTimesInvalid, SettingInvalid } from "./Setting.ts"
import { settings } from "./SettingsTable.ts"

/**
 * The config file cannot be used. For example, it is unreadable, is not JSON, or has an unknown key.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConfigFileInvalid extends Data.TaggedError("ConfigFileInvalid")<{
  readonly path: string
  readonly reason: string
}> {
  override get message() {
    return printable(`invalid config file ${this.path}: ${this.reason}`)
  }
}

/** The key under which a config file can name its JSON Schema, for editors. The key is allowed, but it is not a setting. */
const schemaKey = "$schema"

type JsonObject = { readonly [key: string]: unknown }
const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const filePaths: ReadonlyArray<ReadonlyArray<string>> = Object.values(settings).flatMap((setting) =>
  setting.file === undefined ? [] : [setting.file]
)

/**
 * Returns the first fault among the keys of a config file: an unknown key, or a group of settings that is not an object. `value`
 * is the whole file or an object in it. `above` has the keys that lead from the root of the file to `value`.
 */
const findFault = (value: JsonObject, above: ReadonlyArray<string>): Option.Option<string> => {
  const here = filePaths.filter((path) => above.every((key, index) => path[index] === key))
  const known = new Set(here.flatMap((path) => path[above.length] ?? []))
  for (const [key, child] of Object.entries(value)) {
    const keys = [...above, key]
    if (!known.has(key)) {
      return Option.some(
        `unknown key ${JSON.stringify(keys.join("."))}; known here: ${[...known].toSorted().join(", ")}`
      )
    }
    if (here.some((path) => path.length > keys.length && path[above.length] === key)) {
      if (!isObject(child)) return Option.some(`${JSON.stringify(keys.join("."))} must be an object`)
      const fault = findFault(child, keys)
      if (Option.isSome(fault)) return fault
    }
  }
  return Option.none()
}

/** Whether a text that was decoded as UTF-8 is in fact UTF-16, with or without a byte order mark. */
const isUtf16 = (text: string): boolean => /^(?:\uFFFD{2}|\0|[^\0]\0)/.test(text)

const parseJson = (text: string): Either.Either<unknown, string> =>
  Either.try({
    try: (): unknown => JSON.parse(text),
    catch: () => {
      if (isUtf16(text)) return "not JSON: the file is UTF-16; save it as UTF-8"
      const fault = jsonFault(text)
      return fault === undefined
        ? "not JSON"
        : `not JSON: line ${fault.line}, column ${fault.column}: expected ${fault.expected}`
    }
  })

/** A fault of the config file itself, of a value in it, or of several values together. */
export type FileProblem = SettingInvalid | LeaseTimesInvalid | ConfigFileInvalid

/**
 * Handles a problem of the config file. If this handler fails, resolving the settings fails with the same error. If the handler
 * succeeds, the problem is ignored.
 */
export type OnFileProblem = (problem: FileProblem) => Effect.Effect<void, FileProblem>

const maxConfigBytes = 1024 * 1024
const tooLarge = "larger than 1 MiB"

/**
 * How long reading the config from a pipe may take. The read ends when the writer closes the pipe. So without this limit, a pipe
 * that stays open would block the start of the gateway permanently.
 */
const streamTimeout = Duration.seconds(30)

/**
 * Whether a config file is a pipe, a terminal, a device or an unlinked file. A path such as `/dev/fd/3` can lead to an unlinked
 * file, which has no path of its own. A pipe, terminal or device cannot be read a second time.
 */
export const isStream = (path: string): Effect.Effect<boolean, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const type = Option.map(yield* Effect.option(fs.stat(path)), ({ type }) => type)
    if (Option.isNone(type) || type.value === "Directory") return false
    return type.value !== "File" || Option.isNone(yield* Effect.option(realPath(path)))
  })

/** Returns the text of a config file, or `None` if the file does not exist. Fails with the reason if the file cannot be read. */
const readConfigText = (path: string, isStream: boolean): Effect.Effect<
  Option.Option<string>,
  string,
  FileSystem.FileSystem
> =>
  Effect.gen(function*() {
    if (isStream) {
      const content = yield* readStream(path, maxConfigBytes).pipe(
        Effect.mapError(({ reason }) => reason),
        Effect.timeoutFail({
          duration: streamTimeout,
          onTimeout: () => `the pipe was not closed within ${Duration.toSeconds(streamTimeout)} seconds`
        })
      )
      return content.length > maxConfigBytes
        ? yield* Effect.fail(tooLarge)
        : Option.some(Buffer.from(content).toString("utf8"))
    }
    const fs = yield* FileSystem.FileSystem
    const info = yield* Effect.option(fs.stat(path))
    if (Option.exists(info, ({ size }) => size > FileSystem.Size(maxConfigBytes))) return yield* Effect.fail(tooLarge)
    return yield* Effect.asSome(fs.readFileString(path)).pipe(
      Effect.catchAll((error) => isNotFound(error) ? Effect.succeedNone : Effect.fail(describePlatformError(error)))
    )
  })

/** The values of a config file. */
export interface ConfigFile {
  /** The path that error messages show. */
  readonly path: string
  readonly values: JsonObject
}

/** Reads a config file. The default file may be absent. A file that a flag or an environment variable names must exist. */
export const read = (
  path: string,
  options: {
    readonly isStream: boolean
    /** The flag or environment variable that names the file; `None` for the default file. */
    readonly namedBy: Option.Option<string>
  },
  onProblem: OnFileProblem
): Effect.Effect<ConfigFile, FileProblem, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const empty: ConfigFile = { path, values: {} }
    const invalid = (reason: string) => Effect.as(onProblem(new ConfigFileInvalid({ path, reason })), empty)
    const content = yield* Effect.either(readConfigText(path, options.isStream))
    if (Either.isLeft(content)) return yield* invalid(content.left)
    if (Option.isNone(content.right)) {
      return Option.isNone(options.namedBy)
        ? empty
        : yield* invalid(`${options.namedBy.value} names this file, but it does not exist`)
    }
    const parsed = parseJson(content.right.value.replace(/^\uFEFF/, ""))
    if (Either.isLeft(parsed)) return yield* invalid(parsed.left)
    if (!isObject(parsed.right)) return yield* invalid("not a JSON object")
    const { [schemaKey]: schema, ...values } = parsed.right
    if (schema !== undefined && typeof schema !== "string") {
      yield* onProblem(new ConfigFileInvalid({ path, reason: `${JSON.stringify(schemaKey)} must be a string` }))
    }
    const fault = findFault(values, [])
    if (Option.isSome(fault)) yield* onProblem(new ConfigFileInvalid({ path, reason: fault.value }))
    return { path, values }
  })

/** The value of a setting in the config file, not yet decoded. */
export const valueOf = (
  { path, values }: ConfigFile,
  setting: { readonly file?: ReadonlyArray<string> }
): Option.Option<Given> => {
  const keys = setting.file
  if (keys === undefined) return Option.none()
  let value: unknown = values
  for (const key of keys) value = isObject(value) ? value[key] : undefined
  return value === undefined
    ? Option.none()
    : Option.some({ raw: value, source: `${JSON.stringify(keys.join("."))} in ${path}`, isInFile: true })
}
