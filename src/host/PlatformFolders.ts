/**
 * Where this platform keeps a program's configuration and its state.
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
 * A default folder is not known, because this user has no home folder. Only what needs the default fails.
 *
 * @since 0.1.0
 * @category errors
 */
export class FolderUnknown extends Data.TaggedError("FolderUnknown")<{
  /** What has no default, in words. */
  readonly what: string
  /** What to do, in words. */
  readonly advice: string
}> {
  override get message() {
    return `no default ${this.what}: HOME is not set to an absolute path, and this user has no home folder; ${this.advice}`
  }
}

/**
 * Where the config file and the state directory of a profile are. Nothing is made there by asking. `FolderUnknown` where a
 * folder is below the home folder of a user without one.
 *
 * @since 0.1.0
 * @category tags
 */
export class PlatformFolders extends Context.Tag("gateway-lock/PlatformFolders")<PlatformFolders, {
  /** The config file of a profile. It need not exist. */
  readonly configPath: (profile: string) => Either.Either<string, FolderUnknown>
  /** The state directory of a profile. */
  readonly stateDir: (profile: string) => Either.Either<string, FolderUnknown>
  /** Where the state directories of all profiles are, one sub-folder each. */
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
 * Two base folders, one sub-folder per profile: `<config>/<profile>/gateway.json` and `<state>/<profile>`. Pure.
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

/** The path in a variable. A relative one is ignored, as the XDG base directory specification demands. */
const pathFrom = (
  name: string,
  isAbsolute: (path: string) => boolean
): Effect.Effect<Option.Option<string>> => Effect.map(variable(name), Option.filter(isAbsolute))

/**
 * This user's home folder: `HOME` (`USERPROFILE` on Windows), else what the system's list of users says. A relative `HOME`
 * is ignored: it would mean another folder wherever a command is typed.
 *
 * @internal
 */
export const home = (platform: string): Effect.Effect<Option.Option<string>> => {
  const { isAbsolute } = platform === "win32" ? NodePath.win32 : NodePath.posix
  return Effect.flatMap(
    pathFrom(platform === "win32" ? "USERPROFILE" : "HOME", isAbsolute),
    Option.match({
      onSome: Effect.succeedSome,
      // It throws for a user whom the system does not know, as in a container that runs as a bare number.
      onNone: () =>
        Effect.map(
          Effect.option(Effect.try(() => NodeOs.userInfo().homedir)),
          Option.filter(isAbsolute)
        )
    })
  )
}

/** The variables that name the base folders, and where these are in the home folder otherwise. */
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
 * By platform convention, `platform` as `process.platform` has it: the XDG base directories on Linux, `~/Library` on macOS,
 * `%APPDATA%` and `%LOCALAPPDATA%` on Windows. Variables come through `Config`; a relative path in one is ignored.
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
 * Those of the platform that this process runs on.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<PlatformFolders> = Layer.suspend(() => layer(process.platform))
