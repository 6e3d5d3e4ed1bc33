import * as Duration from "effect/Duration"

/** Formats a duration for people: `1m 30s`. Effect's own `Duration.format` writes `0`, without a unit, for no time at all. */
export const formatDuration = (duration: Duration.DurationInput): string =>
  Duration.equals(duration, Duration.zero) ? "0s" : Duration.format(duration)

/** Formats a duration in whole seconds, without a started one. */
export const inWholeSeconds = (duration: Duration.DurationInput): string =>
  formatDuration(Duration.seconds(Math.floor(Duration.toSeconds(duration))))
