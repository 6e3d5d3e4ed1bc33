/**
 * What an error of PostgreSQL, of `pg` or of the network means for a lease. Pure.
 *
 * | error | means | examples |
 * |---|---|---|
 * | 08, 40, 53, 55, 57, 58, XX, 25006 | `StoreFailed` | connection broke, conflict, too many connections, locked row, shutdown, read-only |
 * | 42P01, 3F000 | `StoreFailed` | the table is gone: the next attempt creates it again |
 * | 28, 3D | `StoreRefused` | wrong password, no entry in `pg_hba.conf`, no such database |
 * | 42501 | `StoreRefused` | a right is missing: the message has the SQL that grants it |
 * | 22, 23, 42, 54, 0A | `StoreRefused` | the table has another shape, a value cannot be kept, the server is too old |
 * | 08P01 of pgbouncer about users and databases | `StoreRefused` | `no such database`, `no such user` |
 * | TLS: no TLS on the server, a certificate that is not trusted | `StoreRefused` | `DEPTH_ZERO_SELF_SIGNED_CERT` |
 * | a method of authentication that failed in `pg` | `StoreRefused` | no password given |
 * | `EACCES` and `EPERM` of a socket file | `StoreRefused` | the folder of the socket is closed |
 * | everything else, such as other errors of the network | `StoreFailed` | `ECONNREFUSED`, `ENOTFOUND` |
 *
 * An unknown error counts as `StoreFailed`: it is logged and waited for, since a start must not end by a fault that passes.
 *
 * @internal
 */
import { type StoreError, StoreFailed, StoreRefused } from "./LeaseStore.ts"

const sqlStatePattern = /^[0-9A-Z]{5}$/

/** The code of an error: an SQLSTATE, or a code of Node. */
export const codeOf = (cause: unknown): string =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : ""

export const messageOf = (cause: unknown): string => {
  // Node reports a host with several addresses by an error without a message.
  if (cause instanceof AggregateError && cause.message === "") return messageOf(cause.errors[0])
  return cause instanceof Error ? cause.message : String(cause)
}

const refusedStates = ["28", "3D", "22", "23", "42", "54", "0A"]

/** The table or its schema is gone. */
const isGone = (code: string): boolean => code === "42P01" || code === "3F000"

const isRefusedState = (code: string, message: string): boolean =>
  code === "08P01"
    ? /no such (?:database|user)|auth(?:entication)? failed|unsupported startup parameter/i.test(message)
    : !isGone(code) && refusedStates.some((state) => code.startsWith(state))

const isRefusedByClient = (code: string, message: string): boolean =>
  /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|HOSTNAME_MISMATCH/.test(code)
  || code === "EACCES"
  || code === "EPERM"
  || /^SASL|does not support SSL|unknown (?:sasl|authenticat)/i.test(message)

/** How to mend what `pg` or the server says, where they do not say it. */
const hintOf = (code: string, message: string): string => {
  if (/client password must be a string/.test(message)) return ": the URL has no password"
  if (/does not support SSL/.test(message)) return ": expected TLS because of sslmode"
  if (code === "28000" && /no encryption/.test(message)) return ": add sslmode=verify-full to the URL"
  if (code === "57014") return ": the server or its setting statement_timeout ended the statement"
  return ""
}

const isSqlState = (code: string): boolean => sqlStatePattern.test(code) && /\d/.test(code)

/**
 * The error of a statement or of a connection. `missingRight` is the SQL for error 42501.
 */
export const classify = (cause: unknown, missingRight: string): StoreError => {
  const [code, message] = [codeOf(cause), messageOf(cause)]
  const text = message === "" ? code : message
  if (code === "42501") return new StoreRefused({ reason: `${text}: run ${missingRight}`, cause })
  const isRefused = isSqlState(code) ? isRefusedState(code, message) : isRefusedByClient(code, message)
  const reason = `${text}${hintOf(code, message)}${isSqlState(code) ? ` (SQLSTATE ${code})` : ""}`
  return isRefused ? new StoreRefused({ reason, cause }) : new StoreFailed({ reason, cause })
}

/** Whether the statement had no effect, because it met a concurrent change, and may be repeated at once. */
export const isConflict = (cause: unknown): boolean => codeOf(cause) === "40001" || codeOf(cause) === "40P01"

/**
 * Whether a statement was not run, because its connection had just ended while it was idle. Then it is sent on another connection.
 * Other errors of a connection do not tell whether the statement was run.
 */
export const isUnsent = (cause: unknown): boolean =>
  codeOf(cause) === "57P05" || /is not queryable/.test(messageOf(cause))

/** Whether the table must be looked for again. */
export const isTableGone = (cause: unknown): boolean => isGone(codeOf(cause))
