/**
 * The flags of `gateway exec`.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as LockFile from "../lock/LockFile.ts"
import { decodeGiven, durationSetting, setting } from "../settings/Setting.ts"
import { defaultStopTimeout } from "../supervisor/ServiceOptions.ts"
import type { ExecCommandLine } from "./CommandLine.ts"
import { ExitStatus } from "./ExitStatus.ts"

/** `exec`, or one of its flags, is not available on this platform. */
export class ExecUnavailable extends Data.TaggedError("ExecUnavailable")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

const readySetting = setting<LockFile.OwnerRecord.Ready>({
  name: "readiness rule",
  flag: "ready",
  placeholder: "<rule>",
  description: "when the command is ready",
  allowed: "none, port, notify, or http:/ and the rest of a path",
  default: "none",
  decode: (raw) =>
    raw === "none" || raw === "port" || raw === "notify"
      ? Option.some(raw)
      : typeof raw === "string" && raw.startsWith("http:/")
      ? Option.some(`http:/${raw.slice("http:/".length)}` as const)
      : Option.none()
})

const startTimeoutSetting = durationSetting({
  name: "start timeout",
  flag: "start-timeout",
  description: "time limit for the command to become ready",
  default: Duration.minutes(1)
})

const stopTimeoutSetting = durationSetting({
  name: "stop timeout of exec",
  flag: "stop-timeout",
  description: "time from SIGTERM to SIGKILL",
  default: defaultStopTimeout
})

const conflictSetting = setting<number>({
  name: "conflict exit status",
  flag: "conflict-exit-code",
  placeholder: "<status>",
  description: "exit status if the lock or the port is taken",
  allowed: "a whole number from 0 to 255",
  default: String(ExitStatus.taken),
  decode: (raw) =>
    typeof raw === "string" && /^\d{1,3}$/.test(raw) && Number(raw) <= 255 ? Option.some(Number(raw)) : Option.none()
})

/** Fails if `exec`, or one of its flags, is not available on a platform. */
export const checkPlatform = (
  { diesWithWrapper }: Pick<ExecCommandLine, "diesWithWrapper">,
  platform: string
): Effect.Effect<void, ExecUnavailable> => {
  if (platform === "win32") {
    return new ExecUnavailable({
      reason: "exec is not available on Windows; run it in WSL, or use LockFile of the library"
    })
  }
  return diesWithWrapper && platform !== "linux"
    ? new ExecUnavailable({ reason: "--die-with-wrapper is available only on Linux; start exec without it" })
    : Effect.void
}

const given = <A>(setting: Parameters<typeof decodeGiven<A>>[0], raw: string | undefined, otherwise: A) =>
  raw === undefined
    ? Effect.succeed(otherwise)
    : decodeGiven(setting, { raw, source: `--${setting.flag ?? setting.name}` })

/** The parsed flags of `exec`. */
export interface Flags {
  readonly ready: Option.Option<LockFile.OwnerRecord.Ready>
  readonly startTimeout: Duration.Duration
  readonly stopTimeout: Duration.Duration
}

/** Parses the flags of `exec`. Fails with `SettingInvalid` if a value is not allowed. */
export const parseFlags = (command: ExecCommandLine) =>
  Effect.gen(function*() {
    const ready = command.ready === undefined
      ? Option.none<LockFile.OwnerRecord.Ready>()
      : Option.some(yield* decodeGiven(readySetting, { raw: command.ready, source: "--ready" }))
    const flags: Flags = {
      ready,
      startTimeout: yield* given(startTimeoutSetting, command.startTimeout, Duration.minutes(1)),
      stopTimeout: yield* given(stopTimeoutSetting, command.stopTimeout, defaultStopTimeout)
    }
    return flags
  })

/** The exit status for a lock or a port that is taken. */
export const conflictStatus = (command: ExecCommandLine) =>
  given(conflictSetting, command.conflictStatus, ExitStatus.taken)
