import * as Schema from "effect/Schema"

/** A duration that JSON contains as a number of milliseconds, under the given key. */
export const milliseconds = <Key extends string>(key: Key) =>
  Schema.propertySignature(Schema.DurationFromMillis).pipe(Schema.fromKey(key))

/** Does the same as `milliseconds` for a duration that may be absent. */
export const optionalMilliseconds = <Key extends string>(key: Key) =>
  Schema.optionalWith(Schema.DurationFromMillis, { exact: true }).pipe(Schema.fromKey(key))
