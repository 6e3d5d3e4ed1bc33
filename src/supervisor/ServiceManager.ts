/**
 * Hands a definition to the service manager, and takes it back: where its file goes, and how the manager is told.
 *
 * What is to be done is a list of steps, worked out before the first is taken; a dry run is that list. An installation
 * that fails is undone.
 *
 * @since 0.1.0
 */
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as NodePath from "node:path"
import { ancestors } from "../internal/ancestors.ts"
import { child, run as runChild } from "../internal/child.ts"
import { describePlatformError, isNotFound } from "../internal/describeError.ts"
import { errnoOf } from "../internal/errno.ts"
import { printable } from "../internal/printable.ts"
import * as ServiceDefinition from "./ServiceDefinition.ts"

/**
 * A service could not be installed or uninstalled. One line: what, where, why, and what to do. Exit status 1.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServiceFailed extends Schema.TaggedError<ServiceFailed>("gateway-lock/ServiceFailed")("ServiceFailed", {
  /** `cannot write the systemd unit`, … */
  what: Schema.String,
  /** The path, or the command line. */
  where: Schema.String,
  reason: Schema.String,
  advice: Schema.String
}) {
  override get message() {
    return printable(`${this.what} ${this.where}: ${this.reason}; ${this.advice}`)
  }
}

/**
 * The folders that a manager's own folders are found from.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceFolders {
  /** The user's home folder, absolute. */
  readonly home: string
  /** `$XDG_CONFIG_HOME`. Default: `.config` in the home folder. */
  readonly configHome?: string | undefined
  /** systemd's for the whole machine. Default: `/etc/systemd/system`. */
  readonly systemdSystem?: string | undefined
  /** launchd's for the whole machine. Default: `/Library/LaunchDaemons`. */
  readonly launchDaemons?: string | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ServiceManagerOptions {
  readonly manager: ServiceDefinition.Manager
  readonly service: ServiceDefinition.ServiceOptions
  readonly folders: ServiceFolders
  /** The user's number, which names the launchd domain `gui/<uid>`. Default 0. */
  readonly uid?: number | undefined
  /** Report what would be done, and do nothing. Default `false`. */
  readonly dryRun?: boolean | undefined
  /** Is told of every step before it is taken, and of the outcome. */
  readonly report: (line: string) => Effect.Effect<void>
}

/**
 * One thing to do.
 *
 * @since 0.1.0
 * @category models
 */
export type Step =
  | { readonly _tag: "MakeFolder"; readonly path: string; readonly mode: number }
  | { readonly _tag: "WriteFile"; readonly path: string; readonly definition: ServiceDefinition.ServiceDefinition }
  | { readonly _tag: "RemoveFile"; readonly path: string }
  | {
    readonly _tag: "Run"
    readonly words: readonly [string, ...Array<string>]
    /** `false`: it fails where there is nothing to do. Such a failure is not reported. */
    readonly required: boolean
    /** A manager that ends a service in the background refuses its successor for a moment. */
    readonly patient: boolean
  }

const run = (...words: readonly [string, ...Array<string>]): Step => ({
  _tag: "Run",
  words,
  required: true,
  patient: false
})
const runIfThere = (...words: readonly [string, ...Array<string>]): Step => ({
  _tag: "Run",
  words,
  required: false,
  patient: false
})
const runPatiently = (...words: readonly [string, ...Array<string>]): Step => ({
  _tag: "Run",
  words,
  required: true,
  patient: true
})

type Place = Pick<ServiceManagerOptions, "manager" | "service" | "folders" | "uid">

/**
 * Where the definition is written (systemd.unit(5) "Unit File Load Path", launchd(8) "FILES"). A task has no folder
 * of its own: its XML is kept in the state directory, and registered from there.
 *
 * @since 0.1.0
 * @category paths
 */
export const definitionPath = ({ folders, manager, service }: Place): string => {
  const { fileName } = ServiceDefinition.names(manager, service.profile)
  const isSystem = service.scope === "system"
  switch (manager) {
    case "systemd":
      return NodePath.join(
        isSystem
          ? folders.systemdSystem ?? "/etc/systemd/system"
          : NodePath.join(folders.configHome ?? NodePath.join(folders.home, ".config"), "systemd", "user"),
        fileName
      )
    case "launchd":
      return NodePath.join(
        isSystem
          ? folders.launchDaemons ?? "/Library/LaunchDaemons"
          : NodePath.join(folders.home, "Library", "LaunchAgents"),
        fileName
      )
    case "schtasks":
      return NodePath.join(service.stateDir, fileName)
  }
}

/**
 * The link that `systemctl enable` makes (systemd.unit(5), `WantedBy=`).
 */
const enablement = (place: Place): string => {
  const path = definitionPath(place)
  const target = place.service.scope === "system" ? "multi-user.target" : "default.target"
  return NodePath.join(NodePath.dirname(path), `${target}.wants`, NodePath.basename(path))
}

const systemctl = (place: Place): readonly [string, ...Array<string>] =>
  place.service.scope === "system" ? ["systemctl"] : ["systemctl", "--user"]

/** The launchd domain of launchctl(1): the machine's, or that of the user's login session. */
const launchdDomain = (place: Place): string => place.service.scope === "system" ? "system" : `gui/${place.uid ?? 0}`

/**
 * What an installation does, in order. The service is enabled, and started by the manager when it says: systemd and
 * the Task Scheduler at the next boot or login, launchd at once.
 *
 * @since 0.1.0
 * @category plans
 */
export const installSteps = (place: Place): ReadonlyArray<Step> => {
  const definition = ServiceDefinition.make(place.manager, place.service)
  const path = definitionPath(place)
  const write: ReadonlyArray<Step> = [
    { _tag: "MakeFolder", path: NodePath.dirname(path), mode: place.manager === "schtasks" ? 0o700 : 0o755 },
    { _tag: "WriteFile", path, definition }
  ]
  switch (place.manager) {
    case "systemd":
      return [
        ...write,
        run(...systemctl(place), "daemon-reload"),
        run(...systemctl(place), "enable", definition.name)
      ]
    case "launchd":
      return [
        // launchd opens the error output before it starts the program, and makes no folders.
        { _tag: "MakeFolder", path: place.service.stateDir, mode: 0o700 },
        ...write,
        // A label that is loaded already cannot be bootstrapped again.
        runIfThere("launchctl", "bootout", `${launchdDomain(place)}/${definition.name}`),
        run("launchctl", "enable", `${launchdDomain(place)}/${definition.name}`),
        runPatiently("launchctl", "bootstrap", launchdDomain(place), path)
      ]
    case "schtasks":
      return [...write, run("schtasks", "/Create", "/TN", definition.name, "/XML", path, "/F")]
  }
}

/**
 * What takes an installed service away, in order: it is stopped first.
 *
 * @since 0.1.0
 * @category plans
 */
export const uninstallSteps = (place: Place): ReadonlyArray<Step> => {
  const { name } = ServiceDefinition.names(place.manager, place.service.profile)
  const remove: Step = { _tag: "RemoveFile", path: definitionPath(place) }
  switch (place.manager) {
    case "systemd":
      return [
        run(...systemctl(place), "disable", "--now", name),
        remove,
        run(...systemctl(place), "daemon-reload"),
        // A unit that failed is remembered without its file.
        runIfThere(...systemctl(place), "reset-failed", name)
      ]
    case "launchd":
      // It says no where the job is not loaded, such as after a bootout by hand.
      return [runIfThere("launchctl", "bootout", `${launchdDomain(place)}/${name}`), remove]
    case "schtasks":
      return [
        // It says no where the task does not run.
        runIfThere("schtasks", "/End", "/TN", name),
        run("schtasks", "/Delete", "/TN", name, "/F"),
        remove
      ]
  }
}

/** What to type next. */
const afterInstall = (place: Place): ReadonlyArray<string> => {
  const { name } = ServiceDefinition.names(place.manager, place.service.profile)
  switch (place.manager) {
    case "systemd":
      return [
        `to start it, or to apply a change: ${systemctl(place).join(" ")} restart ${name}`,
        ...(place.service.scope === "user"
          ? ["to run it without being logged in: loginctl enable-linger"]
          : [
            `its state directory: ${ServiceDefinition.systemStateDir(place.service)}`,
            ...(place.service.args.has("config")
              ? []
              : [
                `its config file, if it needs one: ${
                  NodePath.posix.join(ServiceDefinition.systemFolders.config, place.service.profile, "gateway.json")
                }`
              ])
          ])
      ]
    case "launchd":
      return [`to see it: launchctl print ${launchdDomain(place)}/${name}`]
    case "schtasks":
      return [`to start it: schtasks /Run /TN ${name}`]
  }
}

const showWord = (word: string): string => /^[\w./:=,@%+\\-]+$/.test(word) ? word : JSON.stringify(word)

/**
 * A step in words.
 *
 * @since 0.1.0
 * @category formatting
 */
export const describe = (step: Step): string => {
  switch (step._tag) {
    case "MakeFolder":
      return `make folder ${step.path} (unless it is there)`
    case "WriteFile":
      return `write ${step.path}`
    case "RemoveFile":
      return `remove ${step.path}`
    case "Run":
      return `run ${step.words.map(showWord).join(" ")}`
  }
}

const kinds: Record<ServiceDefinition.Manager, string> = {
  systemd: "systemd unit",
  launchd: "launchd property list",
  schtasks: "task definition"
}

type Needs = FileSystem.FileSystem | CommandExecutor.CommandExecutor

/**
 * Fails where the manager's format has no way to write one of the words.
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
        reason: `it has no way to say ${JSON.stringify(word)}`,
        advice: "use a path without control characters, quotes and backslashes"
      })
  })

/**
 * Writes the definition and tells the manager. Done again, it replaces what is there. Where a step fails, or the
 * installation is interrupted, everything is put back as it was: the definition, its folder, and whether it is enabled.
 *
 * **Gotchas.** Under systemd a service that runs already goes on with its former definition until it is restarted.
 *
 * @since 0.1.0
 * @category operations
 */
export const install = (options: ServiceManagerOptions): Effect.Effect<void, ServiceFailed, Needs> =>
  Effect.gen(function*() {
    yield* checkWritable(options)
    const { name } = ServiceDefinition.names(options.manager, options.service.profile)
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
 * Stops the service, removes its definition and tells the manager. Succeeds, saying so, where there is none.
 *
 * @since 0.1.0
 * @category operations
 */
export const uninstall = (options: ServiceManagerOptions): Effect.Effect<void, ServiceFailed, Needs> =>
  Effect.gen(function*() {
    const { name } = ServiceDefinition.names(options.manager, options.service.profile)
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
      options.report(`would ${describe(step)}`),
      step._tag === "WriteFile" ? options.report(indent(step.definition.text)) : Effect.void
    ), { discard: true })

const indent = (text: string): string => text.trimEnd().replace(/^(?=.)/gm, "    ")

/** Why there is nothing to uninstall, if so. */
const isMissing = (options: ServiceManagerOptions): Effect.Effect<Option.Option<string>, ServiceFailed, Needs> =>
  Effect.gen(function*() {
    if (options.manager === "schtasks") {
      const { name } = ServiceDefinition.names("schtasks", options.service.profile)
      const query = ["schtasks", "/Query", "/TN", name] as const
      const { status } = yield* execute(options, query)
      return status === 0 ? Option.none() : Option.some("no such task")
    }
    const fs = yield* FileSystem.FileSystem
    const path = definitionPath(options)
    // Not `exists`, which follows links: a masked unit is a link to /dev/null.
    return yield* fs.readLink(path).pipe(
      Effect.as(Option.none<string>()),
      Effect.catchAll((error) =>
        isNotFound(error) || isNotFolder(error) ? Effect.succeedSome(`${path} does not exist`) : Effect.succeedNone
      )
    )
  })

/** `ENOTDIR`: on the way there is something that is no folder, so there is nothing behind it. */
const isNotFolder = (error: PlatformError): boolean => errnoOf(error) === "ENOTDIR"

const take = (options: ServiceManagerOptions, step: Step): Effect.Effect<void, ServiceFailed, Needs> =>
  Effect.gen(function*() {
    yield* options.report(describe(step))
    const fs = yield* FileSystem.FileSystem
    switch (step._tag) {
      case "MakeFolder":
        return yield* fs.makeDirectory(step.path, { recursive: true, mode: step.mode }).pipe(
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

// ---------------------------------------------------------------------------
// taking it back
// ---------------------------------------------------------------------------

/** What was in the place of a file. */
type Former =
  | { readonly _tag: "Nothing" }
  | { readonly _tag: "Link"; readonly target: string }
  | { readonly _tag: "Content"; readonly bytes: Uint8Array }
  /** Something that cannot be read. It is left alone: to write over it failed as well. */
  | { readonly _tag: "Unreadable" }

interface Before {
  readonly path: string
  readonly definition: Former
  /** systemd's link to it. */
  readonly isEnabled: boolean
  /** Folders that were not there, the deepest first. */
  readonly missing: ReadonlyArray<string>
}

const former = (path: string): Effect.Effect<Former, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    // A unit that is masked is a link to /dev/null.
    const link = yield* Effect.option(fs.readLink(path))
    if (Option.isSome(link)) return { _tag: "Link" as const, target: link.value }
    return yield* fs.readFile(path).pipe(
      Effect.map((bytes): Former => ({ _tag: "Content", bytes })),
      Effect.catchAll((error) =>
        Effect.succeed<Former>(isNotFound(error) ? { _tag: "Nothing" } : { _tag: "Unreadable" })
      )
    )
  })

/** Those of a path's folders that could be made: not its root. */
const missingFolders = (path: string): Effect.Effect<ReadonlyArray<string>, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const missing: Array<string> = []
    for (const folder of [path, ...ancestors(path)].slice(0, -1)) {
      if (yield* Effect.isSuccess(fs.stat(folder))) break
      missing.push(folder)
    }
    return missing
  })

const remember = (
  options: ServiceManagerOptions,
  steps: ReadonlyArray<Step>
): Effect.Effect<Before, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = definitionPath(options)
    const folders = steps.flatMap((step) => step._tag === "MakeFolder" ? [step.path] : [])
    return {
      path,
      definition: yield* former(path),
      isEnabled: yield* Effect.isSuccess(fs.readLink(enablement(options))),
      missing: [...new Set((yield* Effect.forEach(folders, missingFolders)).flat())].toSorted((a, b) =>
        b.length - a.length
      )
    }
  })

/** How long a manager may take to hear that a definition is gone. */
const undoTimeout = Duration.seconds(10)

/** Tells the manager, which may be what failed. */
const tell = (options: ServiceManagerOptions, ...words: readonly [string, ...Array<string>]) =>
  execute(options, words).pipe(Effect.interruptible, Effect.timeout(undoTimeout), Effect.ignore)

/** Puts everything back. What was not changed is not touched, and not reported. */
const undo = (options: ServiceManagerOptions, before: Before): Effect.Effect<void, never, Needs> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const attempt = (what: string, step: Effect.Effect<void, PlatformError, FileSystem.FileSystem>) =>
      Effect.zipRight(
        options.report(`undo: ${what}`),
        Effect.catchAll(step, (error) => options.report(`could not undo it: ${describePlatformError(error)}`))
      )
    const { name } = ServiceDefinition.names(options.manager, options.service.profile)
    const { definition, isEnabled, missing, path } = before
    const link = enablement(options)
    if (options.manager === "systemd" && !isEnabled && (yield* Effect.isSuccess(fs.readLink(link)))) {
      yield* attempt(`remove ${link}`, fs.remove(link))
    }
    if (options.manager === "launchd" && definition._tag === "Nothing") {
      yield* tell(options, "launchctl", "bootout", `${launchdDomain(options)}/${name}`)
    }
    const now = yield* former(path)
    if (!isSame(now, definition)) {
      switch (definition._tag) {
        case "Nothing":
          yield* attempt(`remove ${path}`, fs.remove(path))
          break
        case "Content":
          yield* attempt(`write ${path} as it was`, writeAtomically(path, definition.bytes))
          break
        case "Link":
          yield* attempt(
            `link ${path} as it was`,
            Effect.zipRight(fs.remove(path), fs.symlink(definition.target, path))
          )
          break
        case "Unreadable":
          break
      }
      if (options.manager === "systemd") yield* tell(options, ...systemctl(options), "daemon-reload")
    }
    if (options.manager === "launchd" && definition._tag === "Content") {
      yield* tell(options, "launchctl", "bootstrap", launchdDomain(options), path)
    }
    for (const folder of missing) {
      const names = yield* Effect.option(fs.readDirectory(folder))
      if (Option.exists(names, ({ length }) => length === 0)) {
        yield* attempt(`remove ${folder}`, fs.remove(folder, { recursive: true }))
      }
    }
  })

const isSame = (a: Former, b: Former): boolean =>
  a._tag === "Content" && b._tag === "Content"
    ? Buffer.from(a.bytes).equals(b.bytes)
    : a._tag === "Link" && b._tag === "Link"
    ? a.target === b.target
    : a._tag === b._tag

/** A unit of the system whose user or state directory is not there would fail at its start, with a number for a reason. */
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
        advice: `make it: useradd --system ${showWord(user)}`
      })
    }
    const stateDir = ServiceDefinition.systemStateDir(service)
    if (Option.isSome(ServiceDefinition.stateDirectoryName(stateDir))) return
    const fs = yield* FileSystem.FileSystem
    const uid = Effect.map(fs.stat(stateDir), (info) => Option.getOrUndefined(info.uid))
    const owner = yield* Effect.option(uid)
    if (Option.exists(owner, (owner) => String(owner) === known.output)) return
    return yield* new ServiceFailed({
      what: "cannot keep the service's state in",
      where: stateDir,
      reason: Option.isNone(owner) ? "it does not exist" : `it does not belong to ${user}`,
      advice: `make it: install -d -m 700 -o ${showWord(user)} ${showWord(stateDir)}`
    })
  })

/** For as long as the one that is ending may take to end. */
const settling = (options: ServiceManagerOptions) =>
  Schedule.spaced("500 millis").pipe(Schedule.upTo(ServiceDefinition.longestStop(options.service)))

const fileFailed = (options: ServiceManagerOptions, what: string, path: string) => (error: PlatformError) =>
  new ServiceFailed({
    what,
    where: path,
    reason: describePlatformError(error),
    advice: options.service.scope === "system"
      ? "run it as root or as an administrator, or without --system"
      : `make ${NodePath.dirname(path)} writable for you`
  })

const advice: Record<ServiceDefinition.Manager, Record<ServiceDefinition.ServiceScope, string>> = {
  systemd: {
    user: "try again in a login session of that user, where systemctl --user status answers",
    system: "try again as root, on a machine that systemd runs"
  },
  launchd: {
    user: "try again in a graphical login session of that user",
    system: "try again as root"
  },
  schtasks: {
    user: "try again from a terminal that was opened as administrator",
    system: "try again from a terminal that was opened as administrator"
  }
}

const adviceFor = (options: ServiceManagerOptions): string => advice[options.manager][options.service.scope]

interface Outcome {
  readonly status: number
  /** What it printed, on one line. */
  readonly output: string
}

/** Runs a program of the manager's to its end, for as long as a stop of the service may take and then some. */
const execute = (
  options: ServiceManagerOptions,
  words: readonly [string, ...Array<string>]
): Effect.Effect<Outcome, ServiceFailed, CommandExecutor.CommandExecutor> => {
  const where = words.map(showWord).join(" ")
  const [program, ...args] = words
  const limit = Duration.sum(ServiceDefinition.longestStop(options.service), Duration.seconds(30))
  const text = <E>(stream: Stream.Stream<Uint8Array, E>) => Stream.mkString(Stream.decodeText(stream))
  return runChild(child(program, ...args), limit, ({ exitCode, stderr, stdout }) =>
    Effect.map(
      Effect.all([exitCode, text(stderr), text(stdout)], { concurrency: "unbounded" }),
      ([status, stderr, stdout]) => ({ status, output: oneLine(stderr.trim() === "" ? stdout : stderr) })
    )).pipe(
      Effect.mapError((error) => {
        const failed = (reason: string, advice = adviceFor(options)) =>
          new ServiceFailed({ what: "failed to run", where, reason, advice })
        if (error._tag === "TimeoutException") return failed(`no end after ${Duration.format(limit)}`)
        return isNotFound(error)
          ? failed(`there is no program ${program} here`, "name the service manager of this machine with --manager")
          : failed(describePlatformError(error))
      })
    )
}

const oneLine = (text: string): string => text.trim().replace(/\s*[\r\n]+\s*/g, " / ").slice(0, 300)

/** Whoever looks sees the old file or the new one, whole, also after a loss of power. */
const writeAtomically = (
  path: string,
  content: Uint8Array
): Effect.Effect<void, PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const suffix = yield* Random.nextIntBetween(0, 2 ** 32)
    // In the same folder, or it could not be renamed; no manager takes a name that ends so for a definition.
    const temporary = NodePath.join(
      NodePath.dirname(path),
      `.${NodePath.basename(path)}.${suffix.toString(16).padStart(8, "0")}.tmp`
    )
    const write = Effect.gen(function*() {
      const file = yield* fs.open(temporary, { flag: "wx", mode: 0o644 })
      yield* file.writeAll(content)
      // Whatever the umask: the manager, and who reads it through the manager, may be somebody else.
      yield* fs.chmod(temporary, 0o644)
      yield* file.sync
    })
    yield* Effect.scoped(write).pipe(
      Effect.zipRight(fs.rename(temporary, path)),
      // That it cannot be removed either is said by the failure that came first.
      Effect.onError(() => Effect.ignore(fs.remove(temporary)))
    )
  })
