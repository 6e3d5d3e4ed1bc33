/**
 * Finds the systemd unit that a process runs in.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ServiceUnit } from "../GatewayLockError.ts"

/**
 * Reads the unit from the text of `/proc/<pid>/cgroup` (cgroups(7)), such as `0::/system.slice/gateway-blue.service`. A unit
 * below `user@<uid>.service` belongs to the service manager of that user.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parse = (cgroup: string): Option.Option<ServiceUnit> => {
  // Version 2 of control groups has one hierarchy, in the line that starts with `0:`. Version 1 has several hierarchies with a
  // line each. The hierarchy of systemd has the name `systemd` there.
  const path = /^(?:0:|\d+:name=systemd):(\/.*)$/m.exec(cgroup)?.[1] ?? ""
  const parts = path.split("/")
  const own = parts.findLastIndex((part) => part.endsWith(".service"))
  const name = parts[own]
  if (name === undefined) return Option.none()
  const manager = parts.findIndex((part) => /^user@\d+\.service$/.test(part))
  // If the last `.service` in the path is `user@<uid>.service`, the process is the user's service manager itself, not a unit of it.
  if (manager === own) return Option.none()
  return Option.some({ name, scope: manager === -1 ? "system" : "user" })
}

/**
 * The systemd unit in which a process of this machine runs. `None` if the process runs in no unit, or if its unit cannot be read.
 *
 * @since 0.1.0
 * @category reading
 */
export const ofProcess = (pid: number): Effect.Effect<Option.Option<ServiceUnit>, never, FileSystem.FileSystem> =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString(`/proc/${pid}/cgroup`)).pipe(
    Effect.map(parse),
    Effect.orElseSucceed(() => Option.none())
  )
