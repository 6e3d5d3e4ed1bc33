/**
 * Decodes the settings of the lease and checks its times and its URL. Loaded only if a setting of the lease is given.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { readSecret } from "../host/SecretFile.ts"
import * as LeaseTimes from "../leader/LeaseTimes.ts"
import * as LeaseUrl from "../leader/LeaseUrl.ts"
import type { OnFileProblem } from "./ConfigFile.ts"
import { type Inputs, type LeaseSettings, LeaseUrlFileInvalid } from "./LeaseSettings.ts"
import { LeaseTimesInvalid, type Setting, SettingInvalid, text } from "./Setting.ts"
import { settings } from "./SettingsTable.ts"
import type * as Sources from "./Sources.ts"

const withoutLineEnd = (raw: unknown): Option.Option<string> => Option.map(text(raw), LeaseUrl.withoutLineEnd)

/** The setting of the table, with the parser of the URL. */
const urlSetting: Setting<Redacted.Redacted> = {
  ...settings["lease.url"],
  decode: (raw) => Option.map(Option.filter(withoutLineEnd(raw), LeaseUrl.isValid), (url) => Redacted.make(url)),
  explain: (raw) => Option.flatMap(withoutLineEnd(raw), LeaseUrl.fault)
}

/**
 * Finds the URL, or the file that contains it. `--lease-url-file` overrides both variables, and either variable overrides the config
 * file. Fails with `SettingInvalid` if both variables are set.
 */
const urlFrom = ({ fileFor, flags, sources }: Inputs) =>
  Effect.gen(function*() {
    const [setting, fileSetting] = [urlSetting, settings["lease.urlFile"]]
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

/** Does the work of `LeaseSettings.from`. */
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

/** Reads the URL from its file. */
export const readFile = (path: string): Effect.Effect<Redacted.Redacted, LeaseUrlFileInvalid, FileSystem.FileSystem> =>
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
