/**
 * The program that the end-to-end tests run, and the reasons to skip tests that this machine cannot run.
 */
import { Config, Effect, Option } from "effect"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { isLinux } from "../../fixtures/machine.ts"

export { isLinux, named } from "../../fixtures/machine.ts"

const read = (name: string, otherwise: string) =>
  Effect.runSync(Config.string(name).pipe(Config.withDefault(otherwise), Effect.orDie))

/** The `PATH` of the programs that tests start. These programs inherit no other environment variable. */
export const searchPath = read("PATH", "/usr/bin:/bin")

/**
 * The program under test: `dist/main.js`, or the copy that `GATEWAY_E2E_MAIN` names, such as one without the addon for kernel
 * locks.
 */
export const main = Path.resolve(
  read("GATEWAY_E2E_MAIN", fileURLToPath(new URL("../../../dist/main.js", import.meta.url)))
)

const findsAddon = (path: string): boolean => {
  try {
    const manifest = createRequire(path).resolve("fs-native-extensions/package.json")
    return Fs.existsSync(Path.join(Path.dirname(manifest), "prebuilds", `${process.platform}-${process.arch}`))
  } catch {
    return false
  }
}

/**
 * Whether `main` finds its addon for kernel locks. Without the addon, only the record in a lock file tells other starts that the
 * lock is held.
 */
export const kernelLocks = findsAddon(main)

/** The value of the key `lock` in the record that `main` writes to its lock file. */
export const enforcement = kernelLocks ? "kernel" : "record"

const isRoot = process.getuid?.() === 0

/** The path of a program on the search path. */
export const findTool = (name: string): Option.Option<string> =>
  Option.fromNullable(
    searchPath.split(Path.delimiter).map((folder) => Path.join(folder, name)).find((path) => Fs.existsSync(path))
  )

const hasTool = (name: string): boolean => Option.isSome(findTool(name))

/** The reason to skip a test that needs a tool; `undefined` if the test can run. */
export const without = (tool: string): string | undefined => hasTool(tool) ? undefined : `needs ${tool}(1)`

/** The uid of the unprivileged user `nobody` on Linux. */
export const nobody = 65534

/** The reason to skip a test that needs another user; `undefined` if the test can run. */
export const noOtherUser = isRoot && hasTool("setpriv") ? undefined : "needs root and setpriv(1)"

/** The reason to skip a test that needs new namespaces; `undefined` if the test can run. */
export const noNamespaces = isLinux && isRoot && hasTool("unshare") ? undefined : "needs Linux, root and unshare(1)"

/** The reason to skip a test that shifts the clocks that count from the boot; `undefined` if the test can run. */
export const noTimeNamespaces = noNamespaces
  ?? (Fs.existsSync("/proc/self/timens_offsets") ? undefined : "needs time namespaces")

/** The reason to skip a test in which `/proc` hides processes from another user; `undefined` if the test can run. */
export const noHiding = noNamespaces ?? noOtherUser

/** The reason to skip a test on a real systemd; `undefined` if the test can run. */
export const noSystemd = noNamespaces ?? (Fs.existsSync("/lib/systemd/systemd") ? undefined : "needs systemd")

/** The start of a command line that runs a program as the user with this uid. The program and its arguments follow. */
export const as = (user: number): ReadonlyArray<string> => [
  "setpriv",
  "--reuid",
  String(user),
  "--regid",
  String(user),
  "--clear-groups",
  "--no-new-privs"
]

/** The start of a command line that runs a program as `nobody`. The program and its arguments follow. */
export const asNobody: ReadonlyArray<string> = as(nobody)
