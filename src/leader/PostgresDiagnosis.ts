/**
 * Checks whether a PostgreSQL server can keep leases, without changing anything in it.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { StoreError } from "./LeaseStore.ts"
import type { Connection, Row } from "./PostgresConnections.ts"
import { classify } from "./PostgresErrors.ts"
import * as Sql from "./PostgresSql.ts"
import * as Table from "./PostgresTable.ts"

/**
 * One finding about the server, with the shape of the findings of `Doctor`.
 *
 * - `error`: a gateway cannot lead by this server now.
 * - `warning`: it can, but something may end that, or the lease is less safe than it seems.
 * - `ok`: how the server is.
 *
 * @since 0.1.0
 * @category models
 */
export interface PostgresFinding {
  readonly severity: "ok" | "warning" | "error"
  readonly message: string
  /** The SQL that helps. */
  readonly remedy?: string | undefined
}

type Findings = ReadonlyArray<PostgresFinding>

/** The oldest major version that its makers still mended at the end of 2026. */
const oldestMended = 15

/** Shorter times end statements or idle connections in a server that is merely slow. In milliseconds. */
const shortestTimeout = 1000

const ofVersion = ({ major, version }: Row): Findings => {
  const number = Number(major)
  if (number < Table.oldestVersion) {
    return [{
      severity: "error",
      message: `the server has version ${version}: expected PostgreSQL ${Table.oldestVersion} or later`
    }]
  }
  return number < oldestMended
    ? [{ severity: "warning", message: `the server has version ${version}, which gets no corrections any more` }]
    : [{ severity: "ok", message: `the server has version ${version}` }]
}

/** A setting that loses committed changes in a crash of the operating system. No statement can make up for it. */
const ofUnsafe = (row: Row, name: "fsync" | "full_page_writes"): Findings =>
  row[name] === "off"
    ? [{
      severity: "warning",
      message: `${name} is off: after a power cut, the server can lose the last grant, and grant its token again`,
      remedy: `ALTER SYSTEM SET ${name} = on; SELECT pg_reload_conf()`
    }]
    : []

const ofTimeout = (row: Row, role: string, name: "statement_timeout" | "idle_session_timeout"): Findings => {
  const millis = Number(row[name] ?? 0)
  return millis > 0 && millis < shortestTimeout
    ? [{
      severity: "warning",
      message: `${name} of role ${role} is ${millis} ms, so a slow moment of the server costs a leader its leadership`,
      remedy: `ALTER ROLE ${role} SET ${name} = 0`
    }]
    : []
}

const ofSettings = (row: Row, role: string): Findings => [
  ...ofVersion(row),
  ...ofUnsafe(row, "fsync"),
  ...ofUnsafe(row, "full_page_writes"),
  {
    severity: "ok",
    message: row["synchronous_commit"] === "on" || row["synchronous_commit"] === "remote_apply"
      ? `synchronous_commit is ${row["synchronous_commit"]}`
      : `synchronous_commit is ${row["synchronous_commit"]}; changes of a lease use on`
  },
  ...(row["read_only"] === "on"
    ? [{
      severity: "error" as const,
      message: `default_transaction_read_only of role ${role} is on, so no lease can be acquired`,
      remedy: `ALTER ROLE ${role} SET default_transaction_read_only = off`
    }]
    : []),
  ...ofTimeout(row, role, "statement_timeout"),
  ...ofTimeout(row, role, "idle_session_timeout")
]

const missingTable = (row: Row, role: string): PostgresFinding =>
  row["may_create"] === "t" || (row["has_schema"] === "t" && row["may_create_in_schema"] === "t")
    ? { severity: "ok", message: "table gateway_lock.lease does not exist yet: the first gateway creates it" }
    : {
      severity: "error",
      message: `table gateway_lock.lease does not exist, and role ${role} may not create it`,
      remedy: `${Sql.createTable}; ${Table.grantTo(role)}`
    }

/** The SQL that a text about the table names. */
const sqlIn = (problem: string): string | undefined =>
  /(?:ALTER|DROP) TABLE gateway_lock\.lease(?: ADD UNIQUE \(name, fencing_token\)| SET LOGGED)?/.exec(problem)?.[0]

const ofTable = (row: Row, role: string): Findings => {
  if (row["has_table"] !== "t") return [missingTable(row, role)]
  const problem = Table.shapeProblem(row)
  const rights = { USAGE: "may_use", SELECT: "may_select", INSERT: "may_insert", UPDATE: "may_update" }
  const missing = Object.entries(rights).filter(([, column]) => row[column] !== "t").map(([right]) => right)
  return [
    ...(problem === undefined
      ? [{ severity: "ok" as const, message: "table gateway_lock.lease exists" }]
      : [{ severity: "error" as const, message: problem, remedy: sqlIn(problem) }]),
    ...(missing.length === 0 ? [] : [{
      severity: "error" as const,
      message: `role ${role} lacks ${missing.join(", ")} for gateway_lock.lease`,
      remedy: Table.grantTo(role)
    }])
  ]
}

const ask = (connection: Connection, text: string): Effect.Effect<Row, StoreError> =>
  connection.query(text).pipe(
    Effect.mapBoth({ onFailure: ({ cause }) => classify(cause, "GRANT"), onSuccess: ([row]) => row ?? {} })
  )

const ofServer = (connection: Connection): Effect.Effect<Findings, StoreError> =>
  Effect.gen(function*() {
    const server = yield* ask(connection, Sql.settings)
    const shape = yield* ask(connection, Sql.shape)
    // The last statement shows whether the server has the functions that every look needs. Some forks lack them.
    yield* ask(connection, Sql.probe)
    const role = shape["role"] ?? ""
    return [
      ...(shape["in_recovery"] === "t"
        ? [{
          severity: "warning" as const,
          message: "the server is in recovery: gateways wait until it is the primary"
        }]
        : []),
      ...(connection.isPooled
        ? [{
          severity: "ok" as const,
          message: "a pooler is before the server: candidates notice a release at their next look"
        }]
        : []),
      ...ofSettings(server, role),
      ...ofTable(shape, role)
    ]
  })

/** Opens a connection, and asks the server. */
export const diagnose = (location: string, opening: Effect.Effect<Connection, StoreError>): Effect.Effect<Findings> =>
  Effect.gen(function*() {
    const connection = yield* Effect.acquireRelease(opening, ({ close }) => close)
    const findings = yield* ofServer(connection)
    return [{ severity: "ok" as const, message: `${location} answers` }, ...findings]
  }).pipe(
    Effect.scoped,
    Effect.either,
    Effect.map(Either.getOrElse((error): Findings => [{
      severity: "error",
      message: `${location} cannot keep a lease: ${error.message}`
    }]))
  )
