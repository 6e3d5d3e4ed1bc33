import * as NodePath from "node:path"
import { adviceFor } from "../internal/advice.ts"
import { settings } from "../settings/GatewayConfig.ts"

const paths = new Set([
  settings.configPath.flag,
  settings.stateDir.flag,
  settings.tokenFile.flag,
  settings["lease.urlFile"].flag
])

/** A command line with flags, quoted for the shell of a platform. */
export const withFlags = (
  command: string,
  flags: Iterable<readonly [flag: string, value: string]>,
  platform: string
): string => {
  const { word } = adviceFor(platform)
  return [`gateway ${command}`, ...[...flags].map(([flag, value]) => `--${flag} ${word(value)}`)].join(" ")
}

/** A command line for the gateway that `flags` select. Its paths are absolute, so that it works in any working directory. */
export const sameGateway = (command: string, flags: ReadonlyMap<string, string>, platform: string): string =>
  withFlags(
    command,
    [...flags].map(([flag, value]) => [flag, paths.has(flag) ? NodePath.resolve(value) : value]),
    platform
  )
