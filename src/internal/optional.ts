import * as Schema from "effect/Schema"

/** A key that may be absent, but whose value may not be `undefined`. */
export const optional = <A, I>(schema: Schema.Schema<A, I>) => Schema.optionalWith(schema, { exact: true })
