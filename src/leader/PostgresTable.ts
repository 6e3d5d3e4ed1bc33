/**
 * What the table of leases in PostgreSQL keeps, and how its values are read and written. Pure.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { formatDuration } from "../internal/formatDuration.ts"
import type { Claim, Grant, LeaseHolder, Sighting } from "./LeaseStore.ts"
import type { Row } from "./PostgresConnections.ts"

/** The smallest major version of PostgreSQL whose functions the statements use. */
export const oldestVersion = 13

const columns = {
  name: "text",
  holder_id: "uuid",
  fencing_token: "bigint",
  renewals: "bigint",
  ttl_ms: "integer",
  holder: "jsonb",
  system_identifier: "bigint",
  base: "bigint",
  resign_token: "bigint"
}

/** The SQL that lets a role use the table. */
export const grantTo = (role: string): string =>
  `GRANT USAGE ON SCHEMA gateway_lock TO ${role}; GRANT SELECT, INSERT, UPDATE ON gateway_lock.lease TO ${role}`

const drop = "drop it by DROP TABLE gateway_lock.lease while no gateway runs, and start again"

/** What is wrong with the table that exists, and how to mend it. */
export const shapeProblem = (row: Row): string | undefined => {
  const found = new Set((row["columns"] ?? "").split(","))
  const missing = Object.entries(columns).filter(([name, type]) => !found.has(`${name} ${type}`))
  if (missing.length > 0) {
    return `table gateway_lock.lease lacks ${missing.map(([name, type]) => `${name} ${type}`).join(", ")}: ${drop}`
  }
  if (row["has_primary_key"] !== "t") return `table gateway_lock.lease has no unique key on name: ${drop}`
  if (row["has_key"] !== "t") {
    return "table gateway_lock.lease lacks a key: run ALTER TABLE gateway_lock.lease ADD UNIQUE (name, fencing_token)"
  }
  return row["persistence"] === "p"
    ? undefined
    : "table gateway_lock.lease is not logged, so a crash empties it: run ALTER TABLE gateway_lock.lease SET LOGGED"
}

const isObject = (value: unknown): value is LeaseHolder =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const holderOf = (text: string | null | undefined): LeaseHolder => {
  const holder: unknown = JSON.parse(text ?? "{}")
  return isObject(holder) ? holder : {}
}

export const sightingOf = (row: Row): Option.Option<Sighting> =>
  row["found"] !== "t" ? Option.none() : Option.some({
    holderId: Option.fromNullable(row["holder_id"]),
    fencingToken: BigInt(row["fencing_token"] ?? 0),
    renewals: BigInt(row["renewals"] ?? 0),
    ttl: Duration.millis(Number(row["ttl_ms"])),
    epoch: BigInt(row["epoch"] ?? 0),
    holder: holderOf(row["holder"])
  })

/** The values of a claim. A fraction of a millisecond counts as a whole one, since a longer wait is safe. */
export const claimValues = ({ holder, holderId, name, ttl }: Claim): ReadonlyArray<string> => [
  name,
  holderId,
  String(Math.ceil(Duration.toMillis(ttl))),
  JSON.stringify(holder)
]

export const sightingValues = ({ epoch, fencingToken, holderId, renewals }: Sighting): ReadonlyArray<string | null> => [
  String(fencingToken),
  String(renewals),
  Option.getOrNull(holderId),
  String(epoch)
]

export const grantValues = ({ fencingToken, holderId, name }: Grant): ReadonlyArray<string> => [
  name,
  holderId,
  String(fencingToken)
]

const mostNameBytes = 2000
const mostMillis = 2 ** 31 - 1

/** What of a name the table cannot keep. */
export const nameProblem = (name: string): string | undefined => {
  const bytes = Buffer.byteLength(name)
  if (bytes > mostNameBytes) return `the name has ${bytes} bytes: expected at most ${mostNameBytes}`
  if (name.includes("\0")) return "the name has a NUL character: expected none"
  return !/\p{Cs}/u.test(name) ? undefined : "the name has half of a surrogate pair: expected whole characters"
}

/** What of a claim the table cannot keep. */
export const claimProblem = ({ name, ttl }: Claim): string | undefined =>
  Duration.toMillis(ttl) <= mostMillis
    ? nameProblem(name)
    : `lease.duration is ${formatDuration(ttl)}: expected at most 24 days`
