/**
 * How things are said to a person, wherever that is. Pure.
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import type { Holder, PidMeaning } from "../GatewayLockError.ts"

/** When that was, and how long ago; without the latter where it cannot be true, since a clock was set back. */
export const since = (then: DateTime.Utc, nowMillis: number): string => {
  const time = DateTime.formatIso(then)
  if (then.epochMillis > nowMillis) return time
  const seconds = Math.floor((nowMillis - then.epochMillis) / 1000)
  return seconds === 0 ? `${time} (just now)` : `${time} (${Duration.format(Duration.seconds(seconds))} ago)`
}

/** Why a pid is not one to signal. */
const notHere: Record<Exclude<PidMeaning, "Alive">, string> = {
  Gone: ", which is no longer running",
  OtherPidNamespace: " in another PID namespace",
  OtherBoot: " of another boot or machine",
  Unknown: ", not visible from here"
}

/** A process, and what its number means here. */
export const who = ({ command, pid, pidMeaning }: Holder): string => {
  if (pidMeaning === undefined) return `pid ${pid}`
  if (pidMeaning !== "Alive") return `pid ${pid}${notHere[pidMeaning]}`
  return command === undefined ? `pid ${pid}` : `pid ${pid} (${command})`
}
