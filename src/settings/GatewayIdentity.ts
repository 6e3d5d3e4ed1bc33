/**
 * An app passes options to this library. This module determines which gateway these options identify. It follows the same rules
 * as the settings of the program `gateway`.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import type { Address } from "../Address.ts"
import * as PlatformFolders from "../host/PlatformFolders.ts"
import { canonicalPath, defaultAddress, defaultProfile, SettingInvalid, settings } from "./GatewayConfig.ts"

/** The options that identify a gateway. `Gateway.GatewayOptions` documents each of them. */
export interface IdentityOptions {
  readonly port?: number | undefined
  readonly host?: string | undefined
  readonly profile?: string | undefined
  readonly configPath?: string | undefined
  readonly stateDir?: string | undefined
}

/** The identity of a gateway, with every default filled in. */
export interface GatewayIdentity {
  readonly profile: string
  readonly address: Address
  readonly configPath: string
  readonly configName: string
  readonly stateDir: string
}

/** Makes the error for an option whose value is not allowed. */
export const refuse = (setting: string, value: unknown, allowed: string): SettingInvalid =>
  new SettingInvalid({ setting, source: "GatewayOptions", value: JSON.stringify(value), allowed })

/**
 * Checks port and profile against the rules of the settings, with one exception: port 0 is allowed here, and means any free port.
 */
export const checkName = (
  { port, profile }: Pick<IdentityOptions, "port" | "profile">
): Effect.Effect<void, SettingInvalid> =>
  Effect.gen(function*() {
    if (port !== undefined && port !== 0 && Option.isNone(settings.port.decode(port))) {
      yield* refuse("port", port, `${settings.port.allowed}, or 0 for a free one`)
    }
    if (profile !== undefined && Option.isNone(settings.profile.decode(profile))) {
      yield* refuse("profile", profile, settings.profile.allowed)
    }
  })

/** The gateway that these options identify. Dies if an option is not allowed. */
export const identify = (
  options: IdentityOptions
): Effect.Effect<
  GatewayIdentity,
  PlatformFolders.FolderUnknown,
  FileSystem.FileSystem | PlatformFolders.PlatformFolders
> =>
  Effect.gen(function*() {
    // A wrong option is a mistake in the app's code, which the user of the app cannot fix. So the error becomes a defect.
    yield* Effect.orDie(checkName(options))
    const folders = yield* PlatformFolders.PlatformFolders
    const profile = options.profile ?? defaultProfile
    const configName = NodePath.resolve(options.configPath ?? (yield* folders.configPath(profile)))
    return {
      profile,
      address: { host: options.host ?? defaultAddress.host, port: options.port ?? defaultAddress.port },
      configPath: yield* canonicalPath(configName),
      configName,
      stateDir: yield* canonicalPath(options.stateDir ?? (yield* folders.stateDir(profile)))
    }
  })

/**
 * Like `identify`, but dies where `identify` fails with `FolderUnknown`. This happens if the user has no home folder, and the app
 * does not pass both `configPath` and `stateDir`.
 */
export const identified = (
  options: IdentityOptions
): Effect.Effect<GatewayIdentity, never, FileSystem.FileSystem | PlatformFolders.PlatformFolders> =>
  Effect.catchTag(identify(options), "FolderUnknown", Effect.die)
