/**
 * The supervisors' own commands for a gateway that one of them started. Ended behind its back, it is started again
 * (`Restart=always`), or taken for a failure (the Task Scheduler).
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import type { ServiceUnit, SupervisorKind } from "../GatewayLockError.ts"
import { shellWord } from "../internal/shellWord.ts"
import { serviceNames } from "./ServiceOptions.ts"

/**
 * Commands to be typed.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceCommands {
  readonly status: string
  readonly stop: string
}

const systemctl = ({ name, scope }: ServiceUnit): ServiceCommands => {
  const program = scope === "user" ? "systemctl --user" : "systemctl"
  // systemd escapes with backslashes.
  const unit = shellWord(name)
  return { status: `${program} status ${unit}`, stop: `${program} stop ${unit}` }
}

/**
 * An agent is in the domain of its user's login, a daemon in the system's, which anybody may print and root alone may change
 * (launchctl(1)). A record does not say which of them its owner is, and a label is known in one of the two.
 */
const launchctl = (label: string): ServiceCommands => ({
  status: `launchctl print gui/$(id -u)/${label} || launchctl print system/${label}`,
  stop: `launchctl bootout gui/$(id -u)/${label} || sudo launchctl bootout system/${label}`
})

const schtasks = (task: string): ServiceCommands => ({
  status: `schtasks /Query /V /FO LIST /TN ${task}`,
  stop: `schtasks /End /TN ${task}`
})

/**
 * What a supervisor is to be told; `None` where it has no command that is known (`none`, `external`), or where nobody
 * knows what it calls the service. Pure.
 *
 * A unit of systemd is named by the process's control group; the others call a profile's service as
 * `gateway service install` does.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly supervisor: SupervisorKind
  readonly unit?: ServiceUnit | undefined
  readonly profile?: string | undefined
}): Option.Option<ServiceCommands> => {
  const { profile, supervisor, unit } = options
  if (supervisor === "systemd") return Option.map(Option.fromNullable(unit), systemctl)
  if (profile === undefined) return Option.none()
  if (supervisor === "launchd") return Option.some(launchctl(serviceNames("launchd", profile).name))
  if (supervisor === "schtasks") return Option.some(schtasks(serviceNames("schtasks", profile).name))
  return Option.none()
}
