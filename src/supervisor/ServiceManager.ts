/**
 * Installs and uninstalls a service: writes or removes the file of the service's definition, and tells the service manager about
 * the change.
 *
 * All steps are computed before the first one runs. A dry run prints these steps and runs none of them. A failed installation is
 * undone.
 */
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { makeFolders } from "../host/makeFolders.ts"
import { isNotFound } from "../internal/describeError.ts"
import { errnoOf } from "../internal/errno.ts"
import { execute } from "./ManagerCommand.ts"
import * as ServiceDefinition from "./ServiceDefinition.ts"
import { adviceFor, fileFailed, ServiceFailed } from "./ServiceFailed.ts"
import { longestStop, type Manager, serviceNames } from "./ServiceOptions.ts"
import {
  afterInstall,
  definitionPath,
  describeStep,
  installSteps,
  type Place,
  showWord,
  type Step,
  uninstallSteps
} from "./ServiceSteps.ts"
import { remember, undo } from "./ServiceUndo.ts"
import { stateDirectoryName, systemStateDir } from "./SystemdUnit.ts"
import { writeAtomically } from "./writeAtomically.ts"

/**
 * The options of `install` and `uninstall`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceManagerOptions extends Place {
  /** Whether to report the steps and change nothing. Default `false`. */
  readonly dryRun?: boolean | undefined
  /** Called with one line before each step, and with lines about the outcome at the end. */
  readonly report: (line: string) => Effect.Effect<void>
}

const kinds: Record<Manager, string> = {
  systemd: "systemd unit",
  launchd: "launchd property list",
  schtasks: "task definition"
}

type Needs = FileSystem.FileSystem | CommandExecutor.CommandExecutor

/**
 * Fails if the manager's format cannot express one of the words of the definition.
 *
 * @since 0.1.0
 * @category operations
 */
export const checkWritable = (options: ServiceManagerOptions): Effect.Effect<void, ServiceFailed> =>
  Option.match(ServiceDefinition.unwritable(options.manager, options.service), {
    onNone: () => Effect.void,
    onSome: (word) =>
      new ServiceFailed({
        what: `cannot write the ${kinds[options.manager]}`,
        where: definitionPath(options),
        reason: `its format cannot express ${JSON.stringify(word)}`,
        advice: "use a path without control characters, quotes and backslashes"
      })
  })

/**
 * Installs a service: writes the definition and tells the manager about it. A second installation replaces the first.
 *
 * If a step fails or the installation is interrupted, this function restores the former state: the definition, the definition's
 * folder, and whether the service is enabled.
 *
 * **Gotchas.** Under systemd, a running service keeps its former definition until it is restarted.
 *
 * @since 0.1.0
 * @category operations
 */
export const install = (options: ServiceManagerOptions): Effect.Effect<void, ServiceFailed, Needs> =>
  Effect.gen(function*() {
    yield* checkWritable(options)
    const { name } = serviceNames(options.manager, options.service.profile)
    const steps = installSteps(options)
    if (options.dryRun === true) return yield* preview(options, steps)
    yield* checkAccount(options)
    const before = yield* remember(options, steps)
    yield* Effect.forEach(steps, (step) => take(options, step), { discard: true }).pipe(
      Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : undo(options, before))
    )
    yield* options.report(`installed ${name}`)
    for (const line of afterInstall(options)) yield* options.report(line)
  })

/**
 * Stops the service, removes its definition and tells the manager about the removal. If the service is not installed, reports
 * that and succeeds.
 *
 * @since 0.1.0
 * @category operations
 */
export const uninstall = (options: ServiceManagerOptions): Effect.Effect<void, ServiceFailed, Needs> =>
  Effect.gen(function*() {
    const { name } = serviceNames(options.manager, options.service.profile)
    const steps = uninstallSteps(options)
    if (options.dryRun === true) return yield* preview(options, steps)
    const missing = yield* isMissing(options)
    if (Option.isSome(missing)) return yield* options.report(`${name} is not installed: ${missing.value}`)
    for (const step of steps) yield* take(options, step)
    yield* options.report(`uninstalled ${name}`)
  })

// ---------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------

const preview = (options: ServiceManagerOptions, steps: ReadonlyArray<Step>) =>
  Effect.forEach(steps, (step) =>
    Effect.zipRight(
      options.report(`would ${describeStep(step)}`),
      step._tag === "WriteFile" ? options.report(indent(step.definition.text)) : Effect.void
    ), { discard: true })

const indent = (text: string): string => text.trimEnd().replace(/^(?=.)/gm, "    ")

/**
 * Why the service is not installed. `None` if it is.
 *
 * @internal
 */
export const isMissing = (
  options: Pick<ServiceManagerOptions, "manager" | "service" | "folders" | "uid">
): Effect.Effect<Option.Option<string>, ServiceFailed, Needs> =>
  Effect.gen(function*() {
    if (options.manager === "schtasks") {
      const { name } = serviceNames("schtasks", options.service.profile)
      const query = ["schtasks", "/Query", "/TN", name] as const
      const { status } = yield* execute(options, query)
      return status === 0 ? Option.none() : Option.some("no such task")
    }
    const fs = yield* FileSystem.FileSystem
    const path = definitionPath(options)
    // The entry at `path` can be a link, because a masked systemd unit is a link to /dev/null. `fs.exists` would follow that
    // link, but `readLink` checks the entry itself. `readLink` also fails on a regular file, but with another error than ENOENT.
    // So ENOENT means that `path` has no entry.
    return yield* fs.readLink(path).pipe(
      Effect.as(Option.none<string>()),
      Effect.catchAll((error) =>
        isNotFound(error) || isNotFolder(error) ? Effect.succeedSome(`${path} does not exist`) : Effect.succeedNone
      )
    )
  })

/** Whether the error is `ENOTDIR`: a parent in the file's path is not a folder, so the file cannot exist. */
const isNotFolder = (error: PlatformError): boolean => errnoOf(error) === "ENOTDIR"

const take = (options: ServiceManagerOptions, step: Step): Effect.Effect<void, ServiceFailed, Needs> =>
  Effect.gen(function*() {
    yield* options.report(describeStep(step))
    const fs = yield* FileSystem.FileSystem
    switch (step._tag) {
      case "MakeFolder":
        return yield* makeFolders(step.path, step.mode).pipe(
          Effect.mapError(fileFailed(options, "cannot make the folder", step.path))
        )
      case "WriteFile":
        return yield* writeAtomically(step.path, ServiceDefinition.encode(step.definition)).pipe(
          Effect.mapError(fileFailed(options, `cannot write the ${kinds[options.manager]}`, step.path))
        )
      case "RemoveFile":
        return yield* fs.remove(step.path).pipe(
          Effect.catchIf(isNotFound, () => Effect.void),
          Effect.mapError(fileFailed(options, `cannot remove the ${kinds[options.manager]}`, step.path))
        )
      case "Run": {
        const attempt = execute(options, step.words).pipe(
          Effect.filterOrFail(
            ({ status }) => status === 0,
            ({ output, status }) =>
              new ServiceFailed({
                what: "failed to run",
                where: step.words.map(showWord).join(" "),
                reason: output === "" ? `exit status ${status}` : `exit status ${status}, ${output}`,
                advice: adviceFor(options)
              })
          )
        )
        if (step.patient) return yield* Effect.retry(attempt, settling(options))
        if (step.required) return yield* attempt
        return yield* Effect.ignore(attempt)
      }
    }
  })

/**
 * Checks the user and the state directory of a system unit. If the user or the directory does not exist, or if the directory
 * belongs to another user, systemd would fail the start. As the reason, systemd would report only a number.
 */
const checkAccount = (options: ServiceManagerOptions): Effect.Effect<void, ServiceFailed, Needs> =>
  Effect.gen(function*() {
    const { service } = options
    const { user } = service
    if (options.manager !== "systemd" || service.scope !== "system" || user === undefined) return
    const known = yield* execute(options, ["id", "-u", "--", user])
    if (known.status !== 0) {
      return yield* new ServiceFailed({
        what: "cannot run the service as",
        where: user,
        reason: "there is no such user",
        advice: `to create it: useradd --system ${showWord(user)}`
      })
    }
    const stateDir = systemStateDir(service)
    if (Option.isSome(stateDirectoryName(stateDir))) return
    const fs = yield* FileSystem.FileSystem
    const uid = Effect.map(fs.stat(stateDir), (info) => Option.getOrUndefined(info.uid))
    const owner = yield* Effect.option(uid)
    if (Option.exists(owner, (owner) => String(owner) === known.output)) return
    return yield* new ServiceFailed({
      what: "cannot keep the service's state in",
      where: stateDir,
      reason: Option.isNone(owner) ? "it does not exist" : `it does not belong to ${user}`,
      advice: `to create it: install -d -m 700 -o ${showWord(user)} ${showWord(stateDir)}`
    })
  })

/**
 * The schedule of the retries of a command that fails because the manager has not finished the stop of the former service. A
 * retry follows every 500 ms, up to the longest time that this stop may take.
 */
const settling = (options: ServiceManagerOptions) =>
  Schedule.spaced("500 millis").pipe(Schedule.upTo(longestStop(options.service)))
