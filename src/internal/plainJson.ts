/**
 * Reads JSON without schemas, for what every start or a serving gateway reads. To load the schemas takes some milliseconds and two
 * MiB. A test compares each such reader with a schema.
 */
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Struct from "effect/Struct"

/** Whether a value is allowed. An absent key has the value `undefined`, which JSON does not contain. */
export type Check = (value: unknown) => boolean

export const isText: Check = (value) => typeof value === "string"
export const isNumber: Check = (value) => typeof value === "number"
export const isOneOf = (...values: ReadonlyArray<unknown>): Check => (value) => values.includes(value)
export const optional = (check: Check): Check => (value) => value === undefined || check(value)

/** A check for each key of an object. */
export type Checks<A> = { readonly [Key in keyof A]-?: Check }

/** The object with only these keys. `undefined` if a value is not an object, or if a key has a value that is not allowed. */
export const pick = <A extends object>(checks: Checks<A>, value: unknown): A | undefined => {
  if (!Predicate.isRecord(value)) return undefined
  const keys = Struct.keys(checks)
  const picked = Object.fromEntries(keys.flatMap((key) => Object.hasOwn(value, key) ? [[key, value[key]]] : []))
  const isAllowed = (value: Record<string, unknown>): value is Record<string, unknown> & A =>
    keys.every((key) => checks[key](value[key]))
  return isAllowed(picked) ? picked : undefined
}

export const parseJson: (json: string) => Option.Option<unknown> = Option.liftThrowable((json: string): unknown =>
  JSON.parse(json)
)
