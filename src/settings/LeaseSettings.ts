/**
 * Resolves the settings of the lease, by which the gateways of several hosts elect one leader.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { readSecret } from "../host/SecretFile.ts"
import { printable } from "../internal/printable.ts"
import * as LeaseTimes from "../leader/LeaseTimes.ts"
import * as LeaseUrl from "../leader/LeaseUrl.ts"
import type { OnFileProblem } from "./ConfigFile.ts"
import { type Given, LeaseTimesInvalid, SettingInvalid } from "./Setting.ts"
import { settings } from "./SettingsTable.ts"
import type * as Sources from "./Sources.ts"

/**
 * The settings of the lease, by which the gateways of several hosts elect one leader.
 *
 * @since 0.1.0
 * @category models
 */
export interface LeaseSettings extends LeaseTimes.LeaseTimes {
  /**
   * The URL of the lease store from the environment. A URL in `urlFile` is not part of the settings, because only a start that
   * needs the store reads that file.
   */
  readonly url: Option.Option<Redacted.Redacted>
  /** The absolute path of the file with the URL. `None` if no file is named, or if `url` is set. */
  readonly urlFile: Option.Option<string>
  /** The name of the lease. Default: the profile. */
  readonly name: string
}

/**
 * The file with the URL of the lease store cannot be used: it is unreadable, belongs to another user, is open to other users, or
 * does not hold a URL. The error never shows the content of the file.
 *
 * @since 0.1.0
 * @category errors
 */
export class LeaseUrlFileInvalid extends Data.TaggedError("LeaseUrlFileInvalid")<{
  readonly path: string
  readonly reason: string
}> {
  override get message() {
    return printable(`invalid lease URL file ${JSON.stringify(this.path)}: ${this.reason}`)
  }
}

/** What one start was given. */
interface Inputs {
  readonly flags: ReadonlyMap<string, string>
  readonly sources: Sources.Sources
  readonly profile: string
  /** Makes a path absolute. A relative path in the config file starts at the folder of that file. */
  readonly fileFor: (given: Given, path: string) => string
}

/**
 * Finds the URL, or the file that contains it. `--lease-url-file` overrides both variables, and either variable overrides the config
 * file. Fails with `SettingInvalid` if both variables are set.
 */
const urlFrom = ({ fileFor, flags, sources }: Inputs) =>
  Effect.gen(function*() {
    const { "lease.url": setting, "lease.urlFile": fileSetting } = settings
    const isFileFlagged = fileSetting.flag !== undefined && flags.has(fileSetting.flag)
    const url = isFileFlagged ? Option.none() : yield* sources.optional(setting)
    const file = yield* sources.given(fileSetting)
    if (Option.isSome(url) && Option.exists(file, ({ isInFile }) => isInFile !== true)) {
      return yield* new SettingInvalid({
        setting: setting.name,
        source: `${setting.env}`,
        value: "(not shown)",
        allowed: `only one of ${setting.env} and ${fileSetting.env}`
      })
    }
    return {
      url,
      urlFile: Option.isSome(url)
        ? Option.none()
        : Option.zipWith(file, yield* sources.optional(fileSetting), fileFor)
    }
  })

const timesFrom = ({ or }: Sources.Sources) =>
  Effect.gen(function*() {
    const { defaults } = LeaseTimes
    return {
      duration: yield* or(settings["lease.duration"], defaults.duration),
      renewInterval: yield* or(settings["lease.renewInterval"], defaults.renewInterval),
      attemptTimeout: yield* or(settings["lease.attemptTimeout"], defaults.attemptTimeout),
      renewDeadline: yield* or(settings["lease.renewDeadline"], defaults.renewDeadline),
      stopTimeout: yield* or(settings["lease.stopTimeout"], defaults.stopTimeout)
    }
  })

/**
 * Resolves the settings of the lease. If its times do not fit together, the problem goes to `onProblem`, and if that succeeds, the
 * default times apply.
 */
export const from = (
  inputs: Inputs,
  onProblem: OnFileProblem
): Effect.Effect<LeaseSettings, Sources.LookupError> =>
  Effect.gen(function*() {
    const { url, urlFile } = yield* urlFrom(inputs)
    const name = yield* inputs.sources.or(settings["lease.name"], inputs.profile)
    const times = yield* timesFrom(inputs.sources)
    const problems = LeaseTimes.problems(times)
    if (problems.length === 0) return { url, urlFile, name, ...times }
    yield* onProblem(new LeaseTimesInvalid({ problems }))
    return { url, urlFile, name, ...LeaseTimes.defaults }
  })

/** Whether a lease is configured. */
export const isLeased = ({ url, urlFile }: Pick<LeaseSettings, "url" | "urlFile">): boolean =>
  Option.isSome(url) || Option.isSome(urlFile)

/**
 * How long a stop may wait for the lease store, in addition to its other work. A candidate that is stopped while it acquires the lease
 * waits for that answer, and then releases the lease: two attempts. Zero if no lease is configured.
 */
export const releaseTimeout = (lease: Pick<LeaseSettings, "url" | "urlFile" | "attemptTimeout">): Duration.Duration =>
  isLeased(lease) ? Duration.times(lease.attemptTimeout, 2) : Duration.zero

const readFile = (path: string): Effect.Effect<Redacted.Redacted, LeaseUrlFileInvalid, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const content = yield* Effect.mapError(
      readSecret(path, LeaseUrl.maxFileBytes),
      ({ reason }) => new LeaseUrlFileInvalid({ path, reason })
    )
    const url = LeaseUrl.withoutLineEnd(content.text)
    const fault = content.isCut ? Option.some(`it has ${content.bytes} bytes`) : LeaseUrl.fault(url)
    return Option.isSome(fault)
      ? yield* new LeaseUrlFileInvalid({ path, reason: `expected ${LeaseUrl.allowed}; ${fault.value}` })
      : Redacted.make(url)
  })

/**
 * Reads the URL of the lease store from the environment or from its file. `None` if no lease is configured. Fails with
 * `LeaseUrlFileInvalid` if the file cannot be used.
 */
export const leaseUrl = (
  { url, urlFile }: Pick<LeaseSettings, "url" | "urlFile">
): Effect.Effect<Option.Option<Redacted.Redacted>, LeaseUrlFileInvalid, FileSystem.FileSystem> =>
  Option.match(urlFile, {
    onNone: () => Effect.succeed(url),
    onSome: (path) => Effect.asSome(readFile(path))
  })
