import * as Schema from "effect/Schema"

/** A duration, whose JSON is a number of milliseconds under a key that says so. */
export const milliseconds = <Key extends string>(key: Key) =>
  Schema.propertySignature(Schema.DurationFromMillis).pipe(Schema.fromKey(key))

/** The same of one that may be absent. */
export const optionalMilliseconds = <Key extends string>(key: Key) =>
  Schema.optionalWith(Schema.DurationFromMillis, { exact: true }).pipe(Schema.fromKey(key))
