/**
 * What of a report or a lock file counts as a change. Pure.
 */
import * as Either from "effect/Either"

/** The keys whose values change although the gateway does not: times of a look, ages, and the renewals of a lease. */
const passing: ReadonlySet<string> = new Set(["asOf", "ageMs", "renewedAt", "trustedUntil"])

/** A JSON text without the values that pass. Any other text is returned as it is. */
export const lasting = (json: string): string =>
  Either.getOrElse(
    Either.try(() => JSON.stringify(JSON.parse(json), (key, value: unknown) => passing.has(key) ? undefined : value)),
    () => json
  )
