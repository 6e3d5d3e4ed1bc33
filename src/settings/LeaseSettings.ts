/**
 * Resolves the settings of the lease, by which the gateways of several hosts elect one leader.
 *
 * Every start loads this module. `GivenLease`, and with it the modules of the lease, is loaded only if a setting of the lease is given.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { printable } from "../internal/printable.ts"
import * as LeaseFacts from "../leader/LeaseFacts.ts"
import type { LeaseTimes } from "../leader/LeaseTimes.ts"
import type { OnFileProblem } from "./ConfigFile.ts"
import type { Given, Setting } from "./Setting.ts"
import { settings } from "./SettingsTable.ts"
import type * as Sources from "./Sources.ts"

/**
 * The settings of the lease, by which the gateways of several hosts elect one leader.
 *
 * @since 0.1.0
 * @category models
 */
export interface LeaseSettings extends LeaseTimes {
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
export interface Inputs {
  readonly flags: ReadonlyMap<string, string>
  readonly sources: Sources.Sources
  readonly profile: string
  /** Makes a path absolute. A relative path in the config file starts at the folder of that file. */
  readonly fileFor: (given: Given, path: string) => string
}

const leaseSettings: ReadonlyArray<Setting<unknown>> = [
  settings["lease.urlFile"],
  settings["lease.url"],
  settings["lease.name"],
  settings["lease.duration"],
  settings["lease.renewInterval"],
  settings["lease.attemptTimeout"],
  settings["lease.renewDeadline"],
  settings["lease.stopTimeout"]
]

const givenLease = Effect.promise(() => import("./GivenLease.ts"))

/**
 * Resolves the settings of the lease. If its times do not fit together, the problem goes to `onProblem`, and if that succeeds, the
 * default times apply.
 */
export const from = (
  inputs: Inputs,
  onProblem: OnFileProblem
): Effect.Effect<LeaseSettings, Sources.LookupError> =>
  Effect.gen(function*() {
    if (yield* inputs.sources.isAnyGiven(leaseSettings)) {
      return yield* Effect.flatMap(givenLease, ({ from }) => from(inputs, onProblem))
    }
    return { url: Option.none(), urlFile: Option.none(), name: inputs.profile, ...LeaseFacts.defaults }
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
/**
 * Reads the URL of the lease store from the environment or from its file. `None` if no lease is configured. Fails with
 * `LeaseUrlFileInvalid` if the file cannot be used.
 */
export const leaseUrl = (
  { url, urlFile }: Pick<LeaseSettings, "url" | "urlFile">
): Effect.Effect<Option.Option<Redacted.Redacted>, LeaseUrlFileInvalid, FileSystem.FileSystem> =>
  Option.match(urlFile, {
    onNone: () => Effect.succeed(url),
    onSome: (path) => Effect.asSome(Effect.flatMap(givenLease, ({ readFile }) => readFile(path)))
  })
