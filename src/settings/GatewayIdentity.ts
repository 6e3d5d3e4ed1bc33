/**
 * Finds the gateway that the options of a library user name, by the same rules as the settings of the program.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import type { Address } from "../Address.ts"
import * as PlatformFolders from "../host/PlatformFolders.ts"
import { canonicalPath, defaultAddress, defaultProfile, SettingInvalid, settings } from "./GatewayConfig.ts"

/** The options that name a gateway. `Gateway.GatewayOptions` documents each of them. */
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

/** The error for an option that is not allowed. */
export const refuse = (setting: string, value: unknown, allowed: string): SettingInvalid =>
  new SettingInvalid({ setting, source: "GatewayOptions", value: JSON.stringify(value), allowed })

/** Checks port and profile against the rules of the settings. Port 0, for any free port, is allowed here as well. */
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

/** The gateway that these options name. Dies if an option is not allowed, or if a default folder is unknown. */
export const identified = (
  options: IdentityOptions
): Effect.Effect<GatewayIdentity, never, FileSystem.FileSystem | PlatformFolders.PlatformFolders> =>
  Effect.gen(function*() {
    // A defect, because a wrong option in code is a mistake of the program, which its user cannot fix.
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
  }).pipe(
    // A defect as well: a program whose user has no home folder must pass `configPath` and `stateDir`.
    Effect.catchTag("FolderUnknown", Effect.die)
  )
