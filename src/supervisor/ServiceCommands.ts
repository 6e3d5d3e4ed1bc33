/**
 * The commands of systemd, launchd and the Task Scheduler that show, restart or stop a gateway which the supervisor started. A user should
 * stop such a gateway with these commands and not with a signal. After a signal, systemd would restart the gateway
 * (`Restart=always`), and the Task Scheduler would count a failure.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import type { ServiceUnit, SupervisorKind } from "../GatewayLockError.ts"
import { shellWord } from "../internal/shellWord.ts"
import { serviceNames } from "./ServiceOptions.ts"

/**
 * The commands with which a user can show, restart or stop a gateway that a supervisor started.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceCommands {
  readonly status: string
  readonly stop: string
  readonly restart: string
  /** Shows what the gateway has logged. `undefined` if the supervisor keeps no log. */
  readonly logs?: string
}

const systemctl = ({ name, scope }: ServiceUnit): ServiceCommands => {
  const program = scope === "user" ? "systemctl --user" : "systemctl"
  // Unit names can contain backslashes, because systemd uses a backslash to escape a special character in a name. So the name is
  // quoted for the shell.
  const unit = shellWord(name)
  return {
    status: `${program} status ${unit}`,
    stop: `${program} stop ${unit}`,
    restart: `${program} restart ${unit}`,
    logs: `journalctl -e ${scope === "user" ? "--user-unit" : "-u"} ${unit}`
  }
}

/**
 * The commands try both launchd domains, because the gateway's record (the JSON text in its lock file) does not say which domain
 * has the job. An agent is in the domain of its user's login. A daemon is in the system domain. Every user may print the system
 * domain, but only root may change it (launchctl(1)), so its `bootout` needs `sudo`.
 */
const launchctl = (label: string): ServiceCommands => ({
  status: `launchctl print gui/$(id -u)/${label} || launchctl print system/${label}`,
  stop: `launchctl bootout gui/$(id -u)/${label} || sudo launchctl bootout system/${label}`,
  restart: `launchctl kickstart -k gui/$(id -u)/${label} || sudo launchctl kickstart -k system/${label}`
})

const schtasks = (task: string): ServiceCommands => ({
  status: `schtasks /Query /V /FO LIST /TN ${task}`,
  stop: `schtasks /End /TN ${task}`,
  restart: `schtasks /End /TN ${task}; schtasks /Run /TN ${task}`
})

/**
 * The commands for a gateway that a supervisor started. `None` if no command is known for the supervisor (`none`, `external`), or
 * if the name of the service is not known. Pure.
 *
 * For systemd, `unit` is the unit of the control group of the gateway's process. For launchd and the Task Scheduler, the service
 * has the name that `gateway service install` gives to the service of `profile`.
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
