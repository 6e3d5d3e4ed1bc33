/**
 * Which unit of systemd a process runs in.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ServiceUnit } from "../GatewayLockError.ts"

/**
 * The unit that a control group's path names, from the text of `/proc/<pid>/cgroup` (cgroups(7)):
 * `0::/system.slice/gateway-blue.service`. What is below `user@<uid>.service` is that user's manager's.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parse = (cgroup: string): Option.Option<ServiceUnit> => {
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

/**
 * The unit that a process of this machine runs in, where it can be told.
 *
 * @since 0.1.0
 * @category reading
 */
export const ofProcess = (pid: number): Effect.Effect<Option.Option<ServiceUnit>, never, FileSystem.FileSystem> =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString(`/proc/${pid}/cgroup`)).pipe(
    Effect.map(parse),
    Effect.orElseSucceed(() => Option.none())
  )
