/**
 * Which gateway the options of a library user name, by the rules of the settings.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import type { Address } from "../Address.ts"
import * as PlatformFolders from "../host/PlatformFolders.ts"
import { canonicalPath, defaultAddress, defaultProfile, SettingInvalid, settings } from "./GatewayConfig.ts"

/** The options that name a gateway; `Gateway.GatewayOptions` says what each means. */
export interface IdentityOptions {
  readonly port?: number | undefined
  readonly host?: string | undefined
  readonly profile?: string | undefined
  readonly configPath?: string | undefined
  readonly stateDir?: string | undefined
}

/** A gateway, with every default filled in. */
export interface GatewayIdentity {
  readonly profile: string
  readonly address: Address
  readonly configPath: string
  readonly configName: string
  readonly stateDir: string
}

/** An option that is not allowed. */
export const refuse = (setting: string, value: unknown, allowed: string): SettingInvalid =>
  new SettingInvalid({ setting, source: "GatewayOptions", value: JSON.stringify(value), allowed })

/** Checks options against the rules of the settings. */
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

/** Which gateway these options name. */
export const identified = (
  options: IdentityOptions
): Effect.Effect<GatewayIdentity, never, FileSystem.FileSystem | PlatformFolders.PlatformFolders> =>
  Effect.gen(function*() {
    // A wrong option that was given in code is a mistake in the program: nothing that its user did can mend it.
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
    // As for a wrong option: the program that needs no default names the folders.
    Effect.catchTag("FolderUnknown", Effect.die)
  )
