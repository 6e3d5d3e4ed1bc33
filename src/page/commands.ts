/**
 * The commands that the status page advises, for the supervisor and the platform of a gateway. Pure.
 */
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import type { ServiceUnit, SupervisorKind } from "../GatewayLockError.ts"
import type { PlatformFolders } from "../host/PlatformFolders.ts"
import { adviceFor } from "../internal/advice.ts"
import { defaultAddress, defaultProfile } from "../settings/GatewayConfig.ts"
import * as ServiceCommands from "../supervisor/ServiceCommands.ts"
import type { Command } from "./StatusFrame.ts"

/**
 * The gateway that a command is for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Target {
  readonly configPath: string | undefined
  readonly stateDir: string
  readonly host: string | undefined
  /** The port; `undefined` or 0 if it is unknown. */
  readonly port: number | undefined
}

/** The host for which commands are made. */
export interface Surroundings {
  readonly platform: string
  readonly folders: PlatformFolders["Type"]
}

const isDefault = (folder: Either.Either<string, unknown>, path: string | undefined): boolean =>
  Option.contains(Either.getRight(folder), path ?? "")

/** The profile that has this config file and this state directory; `undefined` if none has. */
const profileOf = ({ configPath, stateDir }: Target, { folders }: Surroundings): string | undefined => {
  const name = NodePath.basename(stateDir)
  const isOfProfile = isDefault(folders.stateDir(name), stateDir)
    && (configPath === undefined || isDefault(folders.configPath(name), configPath))
  return isOfProfile ? name : undefined
}

/** A command line of `gateway` with the flags that name a gateway. Flags that have their default are left out. */
export const gateway = (command: string, target: Target, surroundings: Surroundings): string => {
  const { word } = adviceFor(surroundings.platform)
  const { configPath, host, port, stateDir } = target
  const profile = profileOf(target, surroundings)
  const flags: ReadonlyArray<readonly [flag: string, value: string | undefined]> = [
    ...(profile === undefined
      ? [["config", configPath], ["state-dir", stateDir]] as const
      : [["profile", profile === defaultProfile ? undefined : profile]] as const),
    ["port", port === undefined || port === 0 || port === defaultAddress.port ? undefined : String(port)],
    ["host", host === undefined || host === "" || host === defaultAddress.host ? undefined : host]
  ]
  return [
    `gateway ${command}`,
    ...flags.flatMap(([flag, value]) =>
      value === undefined ? [] : [value.startsWith("-") ? `--${flag}=${word(value)}` : `--${flag} ${word(value)}`]
    )
  ].join(" ")
}

/**
 * A gateway and how it runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Supervised extends Target {
  readonly supervisor: SupervisorKind
  readonly unit: ServiceUnit | undefined
  readonly profile: string
}

/** The commands for this gateway: those of its supervisor, if they are known, and those of `gateway`. */
export const forGateway = (target: Supervised, surroundings: Surroundings): ReadonlyArray<Command> => {
  const { profile, stateDir, supervisor, unit } = target
  const { platform } = surroundings
  const own: ReadonlyArray<Command> = [
    { purpose: "status", command: gateway("status", target, surroundings) },
    { purpose: "check", command: gateway("doctor", target, surroundings) }
  ]
  const service = ServiceCommands.make({ supervisor, profile, unit })
  if (Option.isNone(service)) return [{ purpose: "stop", command: gateway("stop", target, surroundings) }, ...own]
  const { logs, restart, stop } = service.value
  const written = supervisor === "launchd"
    ? `tail -n 100 ${adviceFor(platform).word(NodePath.join(stateDir, "launchd.stderr.log"))}`
    : logs
  return [
    { purpose: "restart", command: restart },
    { purpose: "stop", command: stop },
    ...(written === undefined ? [] : [{ purpose: "logs", command: written } as const]),
    ...own
  ]
}
