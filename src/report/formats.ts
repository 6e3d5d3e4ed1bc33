/**
 * Formats the report of an error: as text for people, and as JSON for programs. Pure.
 */
import type * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import { GatewayLockError } from "../GatewayLockError.ts"
import { printable } from "../internal/printable.ts"
import { type Fact, facts, type Start } from "./facts.ts"
import { jsonLine } from "./jsonLine.ts"
import { family } from "./words.ts"

/** The age in milliseconds; `undefined` if `since` is in the future because a clock was set back. */
const ageMillis = (since: DateTime.Utc | undefined, { nowMillis }: Start): number | undefined =>
  since === undefined || since.epochMillis > nowMillis ? undefined : nowMillis - since.epochMillis

/** Formats the report for a terminal or a log: the message, with the facts aligned below the message. */
export const toText = (error: GatewayLockError, start: Start): string => {
  const rows = facts(error, start)
  const width = Math.max(...rows.map(({ label }) => label.length))
  return [
    `${family}: ${printable(error.message)}`,
    ...rows.map(({ label, value }) => `  ${`${label}:`.padEnd(width + 1)} ${printable(value)}`)
  ].join("\n")
}

const byKey = (rows: ReadonlyArray<Fact>): Readonly<Record<string, string>> =>
  Object.fromEntries(rows.map(({ key, value }) => [key, value]))

/** Formats the report for a program that reads logs: one line of JSON that has the message and the facts as fields. */
export const toJson = (error: GatewayLockError, start: Start): string => {
  const rows = facts(error, start)
  const heldForMs = "holder" in error ? ageMillis(error.holder?.since, start) : undefined
  return jsonLine(start.nowMillis, "ERROR", error.message, {
    name: family,
    error: Schema.encodeSync(GatewayLockError)(error),
    ...(heldForMs === undefined ? {} : { heldForMs }),
    facts: byKey(rows.filter(({ isNext }) => !isNext)),
    next: byKey(rows.filter(({ isNext }) => isNext))
  })
}
