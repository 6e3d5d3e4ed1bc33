/**
 * The SQL of the store in PostgreSQL.
 *
 * - Each statement is a transaction of its own, so that it works through a pooler. None of them is prepared under a name.
 * - All functions are written with their schema, because a role's `search_path` may begin with other ones.
 * - Every change is durable before it is answered, whatever the database's default: after a crash of the server, a candidate
 *   would take over from a leader whose last renewal was lost. `remote_apply` is stricter, and is kept.
 * - A statement that waits for a row stops by itself. Otherwise each attempt would leave one more process of the server waiting.
 *
 * @internal
 */

/**
 * The SQL that creates the table, for a role that may create schemas. It may run at any time, also twice at once.
 *
 * The key over `fencing_token` makes a takeover wait for a write that is fenced by `FOR KEY SHARE`.
 */
export const createTable = [
  "CREATE SCHEMA IF NOT EXISTS gateway_lock",
  [
    "CREATE TABLE IF NOT EXISTS gateway_lock.lease (name text PRIMARY KEY, holder_id uuid, fencing_token bigint NOT NULL",
    "renewals bigint NOT NULL, ttl_ms integer NOT NULL, holder jsonb NOT NULL, system_identifier bigint NOT NULL",
    "base bigint NOT NULL, resign_token bigint, UNIQUE (name, fencing_token))"
  ].join(", ")
].join("; ")

/** Two migrations at once would meet in the catalogs of the server, and one of them would fail. The number is any constant. */
export const migrate = `SELECT pg_catalog.pg_advisory_xact_lock(4935917346582451713); ${createTable}`

/** A query for what the catalogs say about the table. It needs no right on the table. */
export const shape = `
SELECT pg_catalog.quote_ident(current_user::text) AS role,
  n.oid IS NOT NULL AS has_schema,
  c.oid IS NOT NULL AS has_table,
  c.relpersistence AS persistence,
  (SELECT pg_catalog.string_agg(a.attname::text || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod), ',')
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
  EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
    AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
    AND (SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attname) FROM pg_catalog.pg_attribute a
      WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey)) = ARRAY['fencing_token', 'name']) AS has_key,
  EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
    AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
    AND (SELECT pg_catalog.array_agg(a.attname::text) FROM pg_catalog.pg_attribute a
      WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey)) = ARRAY['name']) AS has_primary_key,
  pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS may_use,
  pg_catalog.has_table_privilege(c.oid, 'SELECT') AS may_select,
  pg_catalog.has_table_privilege(c.oid, 'INSERT') AS may_insert,
  pg_catalog.has_table_privilege(c.oid, 'UPDATE') AS may_update,
  pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') AS may_create,
  pg_catalog.has_schema_privilege(n.oid, 'CREATE') AS may_create_in_schema,
  pg_catalog.pg_is_in_recovery() AS in_recovery
FROM (SELECT) AS one
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'gateway_lock'
LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'lease'`

/** The version and the settings that matter for a lease. */
export const settings = `
SELECT pg_catalog.current_setting('server_version') AS version,
  pg_catalog.current_setting('server_version_num')::int / 10000 AS major,
  pg_catalog.current_setting('fsync') AS fsync,
  pg_catalog.current_setting('full_page_writes') AS full_page_writes,
  pg_catalog.current_setting('synchronous_commit') AS synchronous_commit,
  pg_catalog.current_setting('default_transaction_read_only') AS read_only,
  (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'statement_timeout') AS statement_timeout,
  (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'idle_session_timeout') AS idle_session_timeout`

/** The server as one statement sees it. The timeline cannot be asked for in recovery: then it is `NULL`. */
const server = `pg_catalog.pg_is_in_recovery() AS in_recovery,
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE ('x' || pg_catalog.substr(
      pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int::bigint END AS timeline,
    (pg_catalog.pg_control_system()).system_identifier AS system_identifier`

/** The same for a statement that changes the table. `$1`: how long it may wait for a row, in milliseconds. */
const changing = `WITH s AS MATERIALIZED (
  SELECT ${server},
    pg_catalog.set_config('lock_timeout', $1, true) AS lock_timeout,
    pg_catalog.set_config('synchronous_commit', CASE pg_catalog.current_setting('synchronous_commit')
      WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true) AS durable)`

/** Reads `s`, so that its settings apply before any row is changed. */
const isSet = "s.durable IN ('on', 'remote_apply') AND s.lock_timeout IS NOT NULL AND NOT s.in_recovery"

/** A new installation has timelines that begin anew, as after `pg_upgrade`. Its epochs begin above the last token. */
const base = "CASE WHEN l.system_identifier = s.system_identifier THEN l.base ELSE l.fencing_token >> 40 END"

const isOwned = "l.name = $2 AND l.holder_id = $3::uuid AND l.fencing_token = $4::bigint"

/** Asks for what every look asks, without the table. */
export const probe = `SELECT ${server}`

export const look = `WITH s AS MATERIALIZED (SELECT ${server})
SELECT s.in_recovery, l.name IS NOT NULL AS found, l.holder_id, l.fencing_token, l.renewals, l.ttl_ms, l.holder,
  ${base} + s.timeline AS epoch
FROM s LEFT JOIN gateway_lock.lease l ON l.name = $1`

/** The first counter of a lease is the number of the transaction, so that a lease that was deleted continues above its tokens. */
export const create = `${changing}
INSERT INTO gateway_lock.lease
  (name, holder_id, fencing_token, renewals, ttl_ms, holder, system_identifier, base, resign_token)
SELECT $2, $3::uuid, (s.timeline << 40) + (pg_catalog.pg_current_xact_id()::text)::bigint + 1, 0, $4::int, $5::jsonb,
  s.system_identifier, 0, NULL
FROM s WHERE ${isSet}
ON CONFLICT DO NOTHING`

/**
 * Fenced writes hold this lock of the lease `name` together with its row. Locks of rows have no queue: overlapping writers would
 * keep a takeover waiting for ever. Advisory locks have one.
 */
const queueLock = (mode: "exclusive" | "shared", name: string): string =>
  `pg_catalog.pg_advisory_xact_lock${mode === "shared" ? "_shared" : ""}(
    pg_catalog.hashtextextended('gateway_lock.lease ' || ${name}, 0))`

export const acquire = `${changing},
q AS MATERIALIZED (SELECT ${queueLock("exclusive", "$2")} FROM s WHERE s.lock_timeout IS NOT NULL)
UPDATE gateway_lock.lease l SET
  holder_id = $3::uuid,
  fencing_token = greatest(l.fencing_token, (${base} + s.timeline) << 40) + 1,
  renewals = 0, ttl_ms = $4::int, holder = $5::jsonb, resign_token = NULL,
  base = ${base},
  system_identifier = s.system_identifier
FROM s, q
WHERE ${isSet} AND l.name = $2
  AND l.fencing_token = $6::bigint AND l.renewals = $7::bigint AND l.holder_id IS NOT DISTINCT FROM $8::uuid
  AND ${base} + s.timeline = $9::bigint
RETURNING l.fencing_token`

/** The check of a fenced write, which locks the row of the lease until the transaction ends. */
export const fence = `WITH q AS MATERIALIZED (SELECT ${queueLock("shared", "$1")})
SELECT FROM q, gateway_lock.lease l
WHERE l.name = $1 AND l.fencing_token = $2::bigint AND l.holder_id IS NOT NULL
FOR KEY SHARE OF l`

export const renew = `${changing}
UPDATE gateway_lock.lease l SET renewals = l.renewals + 1 FROM s WHERE ${isSet} AND ${isOwned}
RETURNING l.resign_token IS NOT DISTINCT FROM l.fencing_token AS resign`

export const release = `${changing}
UPDATE gateway_lock.lease l SET holder_id = NULL FROM s WHERE ${isSet} AND ${isOwned} RETURNING l.name`

export const requestResign = `${changing}
UPDATE gateway_lock.lease l SET resign_token = l.fencing_token FROM s
WHERE ${isSet} AND l.name = $2 AND l.holder_id IS NOT NULL AND l.fencing_token = $3::bigint RETURNING l.name`

/** The payload of a notification has at most 8000 bytes, and a name at most 2000. */
export const notify = "SELECT pg_catalog.pg_notify('gateway_lock', $1)"
