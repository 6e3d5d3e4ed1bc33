/** What happened to a run of a gateway, as the lines of its file have it. Pure. */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import { type Checks, isNumber, isOneOf, isText, optional, parseJson, pick } from "../internal/plainJson.ts"

/**
 * Something that happened to a run.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunEvent {
  readonly at: DateTime.Utc
  readonly kind: "started" | "leading" | "stopped"
  readonly instanceId: string
  readonly pid?: number
  /** With `started`: whether the lock was left by an owner that had not released it. */
  readonly tookOver?: boolean
  /** With `started`: when an earlier run was seen last, because it touched this file. */
  readonly seen?: DateTime.Utc
  /** With `stopped`: why. */
  readonly reason?: string
}

/** An event as JSON. Times are ISO 8601, in UTC. */
interface Encoded extends Omit<RunEvent, "at" | "seen"> {
  readonly at: string
  readonly seen?: string
}

const isTime = (value: unknown): boolean => typeof value === "string" && Option.isSome(DateTime.make(value))

const checks: Checks<Encoded> = {
  at: isTime,
  kind: isOneOf("started", "leading", "stopped"),
  instanceId: isText,
  pid: optional(isNumber),
  tookOver: optional((value) => typeof value === "boolean"),
  seen: optional(isTime),
  reason: optional(isText)
}

/** Encodes an event as a line of the file. */
export const encode = ({ at, seen, ...rest }: RunEvent): string => {
  const encoded: Encoded = {
    at: DateTime.formatIso(at),
    ...rest,
    ...(seen === undefined ? {} : { seen: DateTime.formatIso(seen) })
  }
  return JSON.stringify(encoded)
}

/** Decodes a line of the file. `None` if it has no event. */
export const decode = (line: string): Option.Option<RunEvent> =>
  Option.map(
    Option.flatMapNullable(parseJson(line), (value) => pick(checks, value)),
    ({ at, seen, ...rest }) => ({
      ...rest,
      at: DateTime.unsafeMake(at),
      ...(seen === undefined ? {} : { seen: DateTime.unsafeMake(seen) })
    })
  )
