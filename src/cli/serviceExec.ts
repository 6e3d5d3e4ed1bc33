/**
 * Makes, from the command line of `gateway service`, the command that the service runs by `gateway exec`.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import { variable } from "../internal/environment.ts"
import type { SettingInvalid } from "../settings/GatewayConfig.ts"
import { ServiceFailed } from "../supervisor/ServiceFailed.ts"
import type { GuardedCommand, Manager } from "../supervisor/ServiceOptions.ts"
import * as StablePaths from "../supervisor/StablePaths.ts"
import type { ExecCommandLine } from "./CommandLine.ts"
import { checkPlatform, conflictStatus, ExecUnavailable, parseFlags } from "./execFlags.ts"
import { notice } from "./Notice.ts"

const platforms: Record<Manager, string> = { systemd: "linux", launchd: "darwin", schtasks: "win32" }

/**
 * The folder in which this process runs, with links unresolved where `PWD` names it so. The service then follows a link that is
 * switched to another release of the program.
 */
const currentFolder = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const physical = NodePath.resolve()
  const logical = yield* variable("PWD")
  if (Option.isNone(logical) || !NodePath.isAbsolute(logical.value)) return physical
  const real = yield* Effect.option(fs.realPath(logical.value))
  return Option.contains(real, physical) ? logical.value : physical
})

/**
 * The folders of `PATH` that a service can use. A relative folder would mean another folder in the service. systemd ignores a
 * variable whose value contains a control character or a noncharacter.
 */
export const usableFolders = (searchPath: string): ReadonlyArray<string> => [
  ...new Set(
    searchPath.split(":").filter((folder) =>
      NodePath.posix.isAbsolute(folder) && !/[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/u.test(folder)
    )
  )
]

/** What is at the path of a program. */
const kindOf = (path: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const { mode, type } = yield* fs.stat(path)
    return type === "Directory" ? "folder" : (mode & 0o111) === 0 ? "not executable" : "program"
  }).pipe(Effect.orElseSucceed(() => "absent" as const))

const unusable = (path: string, kind: "absent" | "folder" | "not executable"): ServiceFailed => {
  switch (kind) {
    case "absent":
      return new ServiceFailed({
        what: "cannot find the command",
        where: path,
        reason: "there is no such file",
        advice: "check its path"
      })
    case "folder":
      return new ServiceFailed({
        what: "cannot execute the command",
        where: path,
        reason: "it is a folder",
        advice: "give the path of a program"
      })
    case "not executable":
      return new ServiceFailed({
        what: "cannot execute the command",
        where: path,
        reason: "it is not executable",
        advice: "make it executable (chmod +x), or name its interpreter"
      })
  }
}

/**
 * The absolute path of a program. A name without a slash is searched in `folders`, as by execvp(3). Fails if there is no such
 * program, because a service that cannot start its program would be restarted again and again.
 */
export const absoluteProgram = (
  name: string,
  folders: ReadonlyArray<string>,
  workingDirectory: string
): Effect.Effect<string, ServiceFailed, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    if (name.includes("/")) {
      const path = NodePath.resolve(workingDirectory, name)
      const kind = yield* kindOf(path)
      return kind === "program" ? path : yield* unusable(path, kind)
    }
    let found: ServiceFailed | undefined
    for (const folder of folders) {
      const path = NodePath.join(folder, name)
      const kind = yield* kindOf(path)
      if (kind === "program") return path
      if (kind === "not executable") found ??= unusable(path, kind)
    }
    return yield* found ?? new ServiceFailed({
      what: "cannot find the command",
      where: name,
      reason: "PATH has no such program",
      advice: "check its name, or give its path"
    })
  })

/**
 * Makes the command of a service, with the absolute path of its program. The service gets the folder and the `PATH` of this
 * process.
 */
export const guardedCommand = (
  command: ExecCommandLine,
  manager: Manager
): Effect.Effect<GuardedCommand, ExecUnavailable | SettingInvalid | ServiceFailed, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    yield* checkPlatform(command, platforms[manager])
    const { ready, startTimeout, stopTimeout } = yield* parseFlags(command)
    if (manager !== "systemd" && Option.contains(ready, "notify")) {
      return yield* new ExecUnavailable({
        reason: "--ready notify needs systemd; use --ready port or --ready http:/<path>"
      })
    }
    yield* conflictStatus(command)
    const [name, ...args] = command.words
    const workingDirectory = yield* currentFolder
    const folders = usableFolders(Option.getOrElse(yield* variable("PATH"), () => "/usr/local/bin:/usr/bin:/bin"))
    const program = yield* absoluteProgram(name, folders, workingDirectory)
    const unstable = StablePaths.find("program", program)
    if (Option.isSome(unstable)) {
      yield* notice(`${program} may disappear (${unstable.value.because}); then install the service again`)
    }
    return {
      flags: command.ownFlags,
      program,
      args,
      workingDirectory,
      searchPath: folders.join(":"),
      hasPort: command.hasPort,
      startTimeout,
      mustBeReady: Option.exists(ready, (rule) => rule !== "none"),
      stopTimeout
    }
  })
