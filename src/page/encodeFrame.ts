/**
 * Encodes status frames as the schema `StatusFrame` does, without it: a start would have to build the schema. Pure.
 */
import * as Duration from "effect/Duration"
import type { StatusFrame } from "./StatusFrame.ts"

/** The JSON text of a frame. A `DateTime` becomes ISO 8601 by its own `toJSON`. */
export const encodeFrame = ({ activity, instance, ...frame }: StatusFrame): string => {
  const { uptime, ...names } = instance
  if (activity === undefined) {
    return JSON.stringify({ ...frame, instance: { ...names, uptimeMs: Duration.toMillis(uptime) } })
  }
  const { interval, ...samples } = activity
  return JSON.stringify({
    ...frame,
    instance: { ...names, uptimeMs: Duration.toMillis(uptime) },
    activity: { ...samples, intervalMs: Duration.toMillis(interval) }
  })
}
