/**
 * What ends an owner that a supervisor started: the supervisor's own command. Ended behind its back, it is started again
 * (`Restart=always`), or taken for a failure (the Task Scheduler).
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as ServiceDefinition from "../supervisor/ServiceDefinition.ts"

/**
 * A unit, and whose manager runs it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unit {
  readonly name: string
  readonly scope: ServiceDefinition.ServiceScope
}

/**
 * The unit that a control group's path names, from the text of `/proc/<pid>/cgroup` (cgroups(7)):
 * `0::/system.slice/gateway-blue.service`. What is below `user@<uid>.service` is that user's manager's.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseUnit = (cgroup: string): Option.Option<Unit> => {
  // The unified hierarchy, or systemd's own in version 1.
  const path = /^(?:0:|\d+:name=systemd):(\/.*)$/m.exec(cgroup)?.[1] ?? ""
  const parts = path.split("/")
  const own = parts.findLastIndex((part) => part.endsWith(".service"))
  const name = parts[own]
  if (name === undefined) return Option.none()
  const manager = parts.findIndex((part) => /^user@\d+\.service$/.test(part))
  // The user's manager itself is no gateway.
  if (manager === own) return Option.none()
  return Option.some({ name, scope: manager === -1 ? "system" : "user" })
}

/** The supervisors that have a command of their own for it. */
const commands: Record<string, (profile: string, unit: Option.Option<Unit>) => string> = {
  systemd: (profile, unit) => {
    const { name, scope } = Option.getOrElse(
      unit,
      (): Unit => ({ name: ServiceDefinition.names("systemd", profile).name, scope: "user" })
    )
    return `systemctl ${scope === "user" ? "--user " : ""}stop ${name}`
  },
  launchd: (profile) => `launchctl bootout gui/$(id -u)/${ServiceDefinition.names("launchd", profile).name}`,
  schtasks: (profile) => `schtasks /End /TN ${ServiceDefinition.names("schtasks", profile).name}`
}

/**
 * The command that ends the owner by its supervisor; `None` where it has none that is known (`none`, `external`): then a
 * signal is right. Pure.
 *
 * Under systemd the unit is told from the owner's control group; without one, and under the others, it is called as
 * `gateway service install` calls it.
 *
 * @since 0.1.0
 * @category decisions
 */
export const stopCommand = (
  supervisor: string,
  profile: string,
  unit: Option.Option<Unit> = Option.none()
): Option.Option<string> =>
  Option.map(
    Option.fromNullable(Object.hasOwn(commands, supervisor) ? commands[supervisor] : undefined),
    (command) => command(profile, unit)
  )

/**
 * The unit that a process of this machine runs in, where it can be told.
 *
 * @since 0.1.0
 * @category reading
 */
export const unitOf = (pid: number): Effect.Effect<Option.Option<Unit>, never, FileSystem.FileSystem> =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString(`/proc/${pid}/cgroup`)).pipe(
    Effect.map(parseUnit),
    Effect.orElseSucceed(() => Option.none())
  )
