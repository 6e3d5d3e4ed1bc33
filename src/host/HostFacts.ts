/**
 * Facts about this host that a leader tells other hosts.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { statfs } from "node:fs"
import { hostname } from "node:os"

/** The magic numbers of statfs(2) for the local file systems whose kernel locks are known to exclude all processes of a host. */
const typeNames: ReadonlyMap<number, string> = new Map([
  [0xEF53, "ext4"],
  [0x5846_5342, "xfs"],
  [0x9123_683E, "btrfs"],
  [0x0102_1994, "tmpfs"],
  [0x794C_7630, "overlayfs"]
])

/** The facts of this machine. Tests replace them with those of a simulated machine. */
export class HostFacts extends Context.Reference<HostFacts>()("gateway-lock/HostFacts", {
  defaultValue: (): {
    readonly name: Effect.Effect<string>
    /** The type of the file system of a path. `None`: unknown, or not among those that are known. */
    readonly fileSystemOf: (path: string) => Effect.Effect<Option.Option<string>>
  } => ({
    name: Effect.sync(hostname),
    fileSystemOf: (path) =>
      Effect.async((resume) =>
        statfs(path, (error, stats) =>
          resume(Effect.succeed(
            // Other systems have other numbers.
            error === null && process.platform === "linux"
              ? Option.fromNullable(typeNames.get(stats.type))
              : Option.none()
          )))
      )
  })
}) {}
