/**
 * The flags of a lease in a command that a person is advised to type. Without them, a gateway would start that does not wait to lead,
 * and would serve beside the leader.
 */
import * as Option from "effect/Option"
import { adviceFor } from "../internal/advice.ts"
import { type GatewayConfig, isLeased, settings } from "../settings/GatewayConfig.ts"

/**
 * The flags, each after a space. `urlFile` is a word of the shell, and is absent if the command finds the URL without a flag. The name is
 * left out if it is the profile of the command, which is its default.
 */
export const leaseFlags = (
  { name, urlFile }: { readonly name: string; readonly urlFile: string | undefined },
  profile: string,
  platform: string
): string => {
  const { "lease.name": nameSetting, "lease.urlFile": urlFileSetting } = settings
  return [
    ...(urlFile === undefined ? [] : [` --${urlFileSetting.flag} ${urlFile}`]),
    ...(name === profile ? [] : [` --${nameSetting.flag} ${adviceFor(platform).word(name)}`])
  ].join("")
}

/** The flags of a lease that is configured. A URL from the environment is a secret, so no flag names it. */
export const leaseFlagsOf = (lease: GatewayConfig["lease"] | undefined, profile: string, platform: string): string => {
  if (lease === undefined || !isLeased(lease)) return ""
  const urlFile = Option.map(lease.urlFile, adviceFor(platform).word)
  return leaseFlags({ name: lease.name, urlFile: Option.getOrUndefined(urlFile) }, profile, platform)
}
