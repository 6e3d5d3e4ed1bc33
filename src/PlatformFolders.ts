/**
 * Where this platform keeps a program's configuration and its state.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import envPaths from "env-paths"
import * as NodePath from "node:path"

/**
 * Where the config file and the state directory of a profile are. Nothing is made there by asking.
 *
 * @since 0.1.0
 * @category tags
 */
export class PlatformFolders extends Context.Tag("gateway-lock/PlatformFolders")<PlatformFolders, {
  /** The config file of a profile. It need not exist. */
  readonly configPath: (profile: string) => string
  /** The state directory of a profile. */
  readonly stateDir: (profile: string) => string
  /** Where the state directories of all profiles are, one sub-folder each. */
  readonly stateRoot: string
}>() {}

/**
 * Two base folders, one sub-folder per profile: `<config>/<profile>/gateway.json` and `<state>/<profile>`. Pure.
 *
 * @example
 * import { Layer } from "effect"
 * import { Gateway, PlatformFolders } from "gateway-lock"
 *
 * const Folders = Layer.succeed(
 *   PlatformFolders.PlatformFolders,
 *   PlatformFolders.make({ config: "/etc/importer", state: "/var/lib/importer" })
 * )
 * const Main = Gateway.layerPlatform({ profile: "blue" }).pipe(Layer.provide(Folders), Layer.provide(Gateway.layerNode))
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (folders: { readonly config: string; readonly state: string }): PlatformFolders["Type"] =>
  PlatformFolders.of({
    configPath: (profile) => NodePath.join(folders.config, profile, "gateway.json"),
    stateDir: (profile) => NodePath.join(folders.state, profile),
    stateRoot: folders.state
  })

/**
 * By platform convention, `platform` as `process.platform` has it: the XDG base directories on Linux, `~/Library` on macOS,
 * `%APPDATA%` and `%LOCALAPPDATA%` on Windows.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (platform: string): Layer.Layer<PlatformFolders> =>
  Layer.sync(PlatformFolders, () => {
    const folders = envPaths("gateway-lock", { suffix: "" })
    // env-paths calls the XDG state folder "log"; the other platforms have no such folder, and state is data there.
    const state = platform === "win32" || platform === "darwin" ? folders.data : folders.log
    return make({ config: folders.config, state })
  })

/**
 * Those of the platform that this process runs on.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<PlatformFolders> = Layer.suspend(() => layer(process.platform))
