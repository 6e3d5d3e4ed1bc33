/**
 * Writes to PostgreSQL that only the present leader can make, for leases in the same database.
 *
 * A transaction locks the row of the lease with `FOR KEY SHARE` while it checks the token. A takeover changes a key of this row, so
 * it waits for the transaction. A renewal does not change it, so it does not wait.
 *
 * An advisory lock of the database queues the takeover before later writes. Locks of rows have no queue, and writes that overlap
 * would keep a takeover waiting for ever.
 *
 * A check without the lock of the row is not safe: a takeover can commit between the check and the write. To fence writes to another
 * database, keep the token in the written row, and write only where `fencing_token <= $1`.
 *
 * - A long transaction delays a takeover by its duration.
 * - The role needs `SELECT` on the table, and `UPDATE` on one of its columns. The following SQL grants the least that works.
 *
 *       GRANT USAGE ON SCHEMA gateway_lock TO app;
 *       GRANT SELECT, UPDATE (resign_token) ON gateway_lock.lease TO app;
 *
 * - In a transaction with `REPEATABLE READ` or `SERIALIZABLE`, the check can fail with SQLSTATE 40001, as any statement can there.
 *   Then repeat the transaction.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { printable } from "../internal/printable.ts"
import * as Sql from "./PostgresSql.ts"

/**
 * The token is not the one of the present leader, so nothing was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class StaleFencingToken
  extends Schema.TaggedError<StaleFencingToken>("gateway-lock/StaleFencingToken")("StaleFencingToken", {
    lease: Schema.String,
    fencingToken: Schema.BigInt
  })
{
  override get message() {
    return `fencing token ${this.fencingToken} is not the present one of lease ${printable(this.lease)}`
  }
}

/**
 * The lease and the token to write with. A `Leadership` has both.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fence {
  /** The name of the lease. */
  readonly name: string
  readonly fencingToken: bigint
}

/**
 * Checks the token, and locks the row of the lease until the transaction ends. Must run inside a transaction: outside one, the lock
 * ends with the check. Use `fenced` unless the transaction is made elsewhere.
 *
 * @since 0.1.0
 * @category checks
 */
export const check = (
  { fencingToken, name }: Fence
): Effect.Effect<void, StaleFencingToken | SqlError, SqlClient.SqlClient> =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql.unsafe(Sql.fence, [name, String(fencingToken)])
  ).pipe(
    Effect.flatMap((rows) => rows.length > 0 ? Effect.void : new StaleFencingToken({ lease: name, fencingToken }))
  )

/**
 * Runs an effect in a transaction that commits only while the token is the present one. The check is the first statement.
 *
 * Inside another transaction, it uses a savepoint, and the lock lasts until the outer transaction ends.
 *
 * @example
 * import { SqlClient } from "@effect/sql"
 * import { Effect } from "effect"
 * import { Leadership } from "gateway-lock"
 * import * as FencedWrite from "gateway-lock/FencedWrite"
 *
 * const write = Effect.gen(function*() {
 *   const leadership = yield* Leadership.Leadership
 *   const sql = yield* SqlClient.SqlClient
 *   yield* sql`UPDATE report SET text = 'done' WHERE id = 1`.pipe(FencedWrite.fenced(leadership))
 * })
 *
 * @since 0.1.0
 * @category combinators
 */
export const fenced = (fence: Fence) =>
<A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E | StaleFencingToken | SqlError, R | SqlClient.SqlClient> =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(Effect.zipRight(check(fence), self)))
