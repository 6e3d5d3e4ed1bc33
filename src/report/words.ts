/**
 * Phrases that errors and reports share: a time with its age, and a process. Pure.
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import type { Holder, PidMeaning } from "../GatewayLockError.ts"
import { inWholeSeconds } from "../internal/formatDuration.ts"

/** The name that text and logs give to every error with which a start fails. A program reads the error's `_tag` instead. */
export const family = "GatewayLockError"

/** A time and its age. The age is left out if the time is in the future because a clock was set back. */
export const describeSince = (then: DateTime.Utc, nowMillis: number): string => {
  const time = DateTime.formatIso(then)
  if (then.epochMillis > nowMillis) return time
  const seconds = Math.floor((nowMillis - then.epochMillis) / 1000)
  return seconds === 0 ? `${time} (just now)` : `${time} (${inWholeSeconds(Duration.seconds(seconds))} ago)`
}

/** The words after a pid that say why this pid must not be signalled. */
const whyNotSignalled: Record<Exclude<PidMeaning, "Alive">, string> = {
  Gone: ", which is no longer running",
  OtherPidNamespace: " in another PID namespace",
  OtherBoot: " of another boot or machine",
  Unknown: ", not visible from here"
}

/** Describes a process by its pid. If the pid must not be signalled, the text says why. */
export const describeProcess = ({ command, endedWrapper, pid, pidMeaning }: Holder): string => {
  const wrapper = endedWrapper === undefined ? "" : `; its wrapper (pid ${endedWrapper}) has ended`
  if (pidMeaning === undefined) return `pid ${pid}`
  if (pidMeaning !== "Alive") return `pid ${pid}${whyNotSignalled[pidMeaning]}${wrapper}`
  return command === undefined ? `pid ${pid}${wrapper}` : `pid ${pid} (${command})${wrapper}`
}

/** Whether `listener`, the text that describes the answer of a port's listener, says that the answer came from a gateway. */
export const saysGateway = (listener: string | undefined): boolean =>
  listener !== undefined && (listener.startsWith("a healthy gateway") || listener.includes("gateway that"))

/** Whether that text says that the gateway has not said which instance it is. */
export const namesNoInstance = (listener: string | undefined): boolean =>
  listener?.includes("without an instance id") === true

export const describeListener = (
  listener: { readonly pid: number; readonly command?: string } | undefined
): string => {
  if (listener === undefined) return "an unknown process"
  return `pid ${listener.pid}${listener.command === undefined ? "" : ` (${listener.command})`}`
}
