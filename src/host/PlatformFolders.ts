/**
 * Finds the folders in which this platform keeps a program's configuration and its state.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as NodeOs from "node:os"
import * as NodePath from "node:path"
import { variable } from "../internal/environment.ts"

/**
 * A default folder is unknown, because this user has no home folder. Operations that do not need the default still work.
 *
 * @since 0.1.0
 * @category errors
 */
export class FolderUnknown extends Data.TaggedError("FolderUnknown")<{
  /** The setting that has no default, in words. */
  readonly what: string
  /** What the user can do about it, in words. */
  readonly advice: string
}> {
  override get message() {
    return `no default ${this.what}: HOME is not set to an absolute path, and this user has no home folder; ${this.advice}`
  }
}

/**
 * Names the config file and the state directory of a profile, without creating them. A profile is the name of one of the
 * gateways of a user. If a path would be below the home folder and this user has no home folder, the result is `FolderUnknown`.
 *
 * @since 0.1.0
 * @category tags
 */
export class PlatformFolders extends Context.Tag("gateway-lock/PlatformFolders")<PlatformFolders, {
  /** The config file of a profile. It need not exist. */
  readonly configPath: (profile: string) => Either.Either<string, FolderUnknown>
  /** The state directory of a profile. */
  readonly stateDir: (profile: string) => Either.Either<string, FolderUnknown>
  /** The folder that contains the state directories of all profiles, one sub-folder each. */
  readonly stateRoot: Either.Either<string, FolderUnknown>
}>() {}

type Folder = Either.Either<string, FolderUnknown>

const below = (config: Folder, state: Folder, join: (...names: ReadonlyArray<string>) => string) =>
  PlatformFolders.of({
    configPath: (profile) => Either.map(config, (folder) => join(folder, profile, "gateway.json")),
    stateDir: (profile) => Either.map(state, (folder) => join(folder, profile)),
    stateRoot: state
  })

/**
 * Makes the paths of each profile from two base folders: `<config>/<profile>/gateway.json` and `<state>/<profile>`. Pure.
 *
 * @example
 * import { Layer } from "effect"
 * import { Gateway, Host } from "gateway-lock"
 *
 * const Folders = Layer.succeed(
 *   Host.PlatformFolders.PlatformFolders,
 *   Host.PlatformFolders.make({ config: "/etc/importer", state: "/var/lib/importer" })
 * )
 * const Main = Gateway.layerPlatform({ profile: "blue" }).pipe(Layer.provide(Folders), Layer.provide(Gateway.layerNode))
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (folders: { readonly config: string; readonly state: string }): PlatformFolders["Type"] =>
  below(Either.right(folders.config), Either.right(folders.state), NodePath.join)

const nameOfProgram = "gateway-lock"

/** The path in an environment variable. A relative path is ignored, as the XDG base directory specification requires. */
const pathFrom = (
  name: string,
  isAbsolute: (path: string) => boolean
): Effect.Effect<Option.Option<string>> => Effect.map(variable(name), Option.filter(isAbsolute))

/**
 * This user's home folder: `HOME` (`USERPROFILE` on Windows), or else the folder in the system's user database. A relative
 * `HOME` is ignored, because it would name a different folder in each working directory.
 *
 * @internal
 */
export const home = (platform: string): Effect.Effect<Option.Option<string>> => {
  const { isAbsolute } = platform === "win32" ? NodePath.win32 : NodePath.posix
  return Effect.flatMap(
    pathFrom(platform === "win32" ? "USERPROFILE" : "HOME", isAbsolute),
    Option.match({
      onSome: Effect.succeedSome,
      // `userInfo` throws if the user database has no entry for the uid. That can be the case in a container.
      onNone: () =>
        Effect.map(
          Effect.option(Effect.try(() => NodeOs.userInfo().homedir)),
          Option.filter(isAbsolute)
        )
    })
  )
}

/**
 * Where a platform keeps the two base folders, for configuration and for state. The path of a base folder has two parts. The first
 * part is the value of the environment variable `variable`. If it is not set, the first part is `below` in the home folder. The
 * second part is `inside`.
 */
const conventions = (platform: string) => {
  switch (platform) {
    case "darwin":
      return {
        config: { below: ["Library", "Preferences", nameOfProgram] },
        state: { below: ["Library", "Application Support", nameOfProgram] }
      }
    case "win32":
      return {
        config: { variable: "APPDATA", below: ["AppData", "Roaming"], inside: [nameOfProgram, "Config"] },
        state: { variable: "LOCALAPPDATA", below: ["AppData", "Local"], inside: [nameOfProgram, "Data"] }
      }
    default:
      return {
        config: { variable: "XDG_CONFIG_HOME", below: [".config"], inside: [nameOfProgram] },
        state: { variable: "XDG_STATE_HOME", below: [".local", "state"], inside: [nameOfProgram] }
      }
  }
}

/**
 * Follows the convention of a platform, a value of `process.platform`: the XDG base directories on Linux, `~/Library` on
 * macOS, `%APPDATA%` and `%LOCALAPPDATA%` on Windows. Variables are read through `Config`, and relative paths are ignored.
 *
 * @internal
 */
export const layer = (platform: string): Layer.Layer<PlatformFolders> =>
  Layer.effect(
    PlatformFolders,
    Effect.gen(function*() {
      const paths = platform === "win32" ? NodePath.win32 : NodePath.posix
      const { config, state } = conventions(platform)
      const find = (
        what: string,
        flag: string,
        { below, inside = [], variable }: {
          readonly variable?: string
          readonly below: ReadonlyArray<string>
          readonly inside?: ReadonlyArray<string>
        }
      ): Effect.Effect<Folder> =>
        Effect.gen(function*() {
          const named = variable === undefined ? Option.none<string>() : yield* pathFrom(variable, paths.isAbsolute)
          if (Option.isSome(named)) return Either.right(paths.join(named.value, ...inside))
          return Option.match(yield* home(platform), {
            onSome: (folder) => Either.right(paths.join(folder, ...below, ...inside)),
            onNone: () =>
              Either.left(
                new FolderUnknown({
                  what,
                  advice: `set HOME${variable === undefined ? "" : ` or ${variable}`}, or give ${flag}`
                })
              )
          })
        })
      return below(
        yield* find("config file", "--config", config),
        yield* find("state directory", "--state-dir", state),
        paths.join
      )
    })
  )

/**
 * Follows the convention of the platform that this process runs on.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<PlatformFolders> = Layer.suspend(() => layer(process.platform))
