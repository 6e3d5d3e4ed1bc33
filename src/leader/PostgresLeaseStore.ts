/**
 * Leases in PostgreSQL 13 or later: a `LeaseStore` for `Leadership`. It needs the package `pg`.
 *
 *     npm install pg
 *
 * The leases are in the table `gateway_lock.lease`. If it does not exist, it is created. A role that may not do that gets
 * `StoreRefused` with the SQL to run.
 *
 * - A change is durable before it is answered, whatever `synchronous_commit` the database has.
 * - After a failover, tokens are higher than all before, even if the last grant was lost.
 * - It works through a pooler such as pgbouncer with transaction pooling. Then candidates notice a release at their next look,
 *   because notifications do not pass a pooler.
 * - A leader keeps two connections, a candidate one. A connection is ended after each error, and the next attempt uses another.
 * - A server in recovery and one that is down are waited for (`StoreFailed`).
 * - A wrong password, a missing right or a table of another shape end a start (`StoreRefused`).
 *
 * Limits: a name has at most 2000 bytes of UTF-8, without NUL. `lease.duration` is at most 24 days. What is JSON in the holder must
 * fit in `jsonb`, which has no NUL character. Names of several hosts in one URL are refused: give a name that leads to the primary.
 *
 * @example
 * import { Effect, Layer, Redacted } from "effect"
 * import { Leadership } from "gateway-lock"
 * import * as PostgresLeaseStore from "gateway-lock/PostgresLeaseStore"
 *
 * const Store = PostgresLeaseStore.layerPostgres({ url: Redacted.make("postgresql://app:secret@db.internal/app") })
 *
 * const program = Effect.gen(function*() {
 *   const { fencingToken, whileLeader } = yield* Leadership.Leadership
 *   yield* whileLeader(Effect.log(`leads with token ${fencingToken}`))
 * }).pipe(Effect.provide(Layer.provide(Leadership.layer({ lease: { name: "reports" } }), Store)))
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { short } from "../internal/durationText.ts"
import { type Grant, LeaseStore, type StoreError, StoreFailed, StoreRefused } from "./LeaseStore.ts"
import * as LeaseTimes from "./LeaseTimes.ts"
import {
  type Connection,
  type Connections,
  make as makeConnections,
  open,
  type PgError,
  type Row,
  statement
} from "./PostgresConnections.ts"
import * as PostgresDiagnosis from "./PostgresDiagnosis.ts"
import { classify, isTableGone } from "./PostgresErrors.ts"
import * as Sql from "./PostgresSql.ts"
import * as Table from "./PostgresTable.ts"
import * as PostgresUrl from "./PostgresUrl.ts"

export type { PostgresFinding } from "./PostgresDiagnosis.ts"

/**
 * Options of `make`, `layerPostgres` and `diagnose`.
 *
 * @since 0.1.0
 * @category models
 */
export interface PostgresOptions {
  /**
   * The server and database, such as `postgresql://user:password@host:5432/database?sslmode=verify-full`. It names one host. The
   * package `pg` reads the rest from the variables `PGUSER`, `PGPASSWORD` and so on, and from `~/.pgpass`.
   */
  readonly url: string | Redacted.Redacted
  /** Runs for each connection, for passwords that change. Default: the password of the URL. */
  readonly password?: Effect.Effect<Redacted.Redacted> | undefined
  /** How long one statement may take, from its start to its answer. Default 2 seconds. */
  readonly attemptTimeout?: Duration.DurationInput | undefined
  /** How long a connection may take to open. The opening goes on while attempts time out. Default 10 seconds. */
  readonly connectTimeout?: Duration.DurationInput | undefined
}

/** What the operations share. */
interface Store {
  readonly location: string
  readonly connections: Connections
  readonly attemptTimeout: Duration.Duration
  /** Whether the table was found or created. */
  hasTable: boolean
  /** The role of the connection, for the SQL that grants rights. */
  role: string
}

const missingRight = ({ hasTable, role }: Store): string =>
  `${hasTable ? "" : `${Sql.createTable}; `}${Table.grantTo(role === "" ? "the role" : role)}`

const translate = (store: Store) => (effect: Effect.Effect<ReadonlyArray<Row>, PgError>) =>
  Effect.mapError(effect, ({ cause }) => {
    if (isTableGone(cause)) store.hasTable = false
    return classify(cause, missingRight(store))
  })

/** Finds the table, or creates it. */
const prepare = (store: Store, connection: Connection): Effect.Effect<void, StoreError> =>
  Effect.gen(function*() {
    if (store.hasTable) return
    const [row] = yield* translate(store)(connection.query(Sql.shape))
    store.role = row?.["role"] ?? ""
    if (row?.["has_table"] === "t") {
      const problem = Table.shapeProblem(row)
      if (problem !== undefined) return yield* new StoreRefused({ reason: problem })
    } else if (row?.["in_recovery"] === "t") {
      return yield* inRecovery
    } else {
      yield* translate(store)(connection.query(Sql.migrate))
      yield* Effect.logInfo(`created table gateway_lock.lease at ${store.location}`)
    }
    store.hasTable = true
  })

const inRecovery = new StoreFailed({ reason: "the server is in recovery: a standby, or a server that starts" })

const run = (
  store: Store,
  text: string,
  values: ReadonlyArray<string | null>
): Effect.Effect<ReadonlyArray<Row>, StoreError> =>
  store.connections.use((connection) =>
    Effect.zipRight(prepare(store, connection), translate(store)(statement(connection, text, values)))
  ).pipe(
    Effect.timeoutFail({
      duration: store.attemptTimeout,
      onTimeout: () => new StoreFailed({ reason: `no answer within ${short(store.attemptTimeout)}` })
    })
  )

const refuse = (problem: string | undefined): Effect.Effect<void, StoreRefused> =>
  problem === undefined ? Effect.void : Effect.fail(new StoreRefused({ reason: problem }))

/** Those who wait for a release, by the name of the lease. */
interface Hints {
  readonly notify: (lease: string) => void
  readonly changed: (lease: string) => Effect.Effect<void>
}

/** Anybody can notify, so a flood of notifications must not become a flood of statements. */
const hintInterval = Duration.millis(50)

const makeHints = (): Hints => {
  const waiting = new Set<(lease: string) => void>()
  let lastHint = 0n
  const hint = (lease: string) =>
    Effect.async<void>((resume) => {
      const wake = (name: string) => {
        if (name === lease) resume(Effect.void)
      }
      waiting.add(wake)
      return Effect.sync(() => waiting.delete(wake))
    })
  return {
    notify: (lease) => {
      for (const wake of waiting) wake(lease)
    },
    changed: (lease) =>
      Effect.gen(function*() {
        yield* hint(lease)
        const now = yield* Clock.currentTimeNanos
        const earliest = lastHint + Duration.unsafeToNanos(hintInterval)
        lastHint = now < earliest ? earliest : now
        if (now < earliest) yield* Effect.sleep(Duration.nanos(earliest - now))
      })
  }
}

const operations = (store: Store, hints: Hints): LeaseStore["Type"] => {
  const lockTimeout = String(Math.max(1, Math.ceil(Duration.toMillis(store.attemptTimeout))))
  const change = (text: string, values: ReadonlyArray<string | null>) => run(store, text, [lockTimeout, ...values])
  // A lost notification only makes the others look later.
  const notify = (name: string) => Effect.ignore(run(store, Sql.notify, [name]))
  const named = <A>(name: string, effect: Effect.Effect<A, StoreError>) =>
    Effect.zipRight(refuse(Table.nameProblem(name)), effect)
  return {
    location: store.location,
    look: (name) =>
      named(
        name,
        Effect.flatMap(run(store, Sql.look, [name]), ([row]) =>
          row === undefined || row["in_recovery"] === "t"
            ? Effect.fail(inRecovery)
            : Effect.succeed(Table.sightingOf(row)))
      ),
    create: (claim) =>
      Effect.zipRight(refuse(Table.claimProblem(claim)), Effect.asVoid(change(Sql.create, Table.claimValues(claim)))),
    acquire: (seen, claim) =>
      Effect.zipRight(
        refuse(Table.claimProblem(claim)),
        Effect.map(
          change(Sql.acquire, [...Table.claimValues(claim), ...Table.sightingValues(seen)]),
          ([row]): Option.Option<Grant> =>
            Option.map(Option.fromNullable(row?.["fencing_token"]), (token) => ({
              name: claim.name,
              holderId: claim.holderId,
              fencingToken: BigInt(token)
            }))
        )
      ),
    renew: (grant) =>
      Effect.suspend(() => {
        store.connections.keepSpare()
        return named(
          grant.name,
          Effect.map(
            change(Sql.renew, Table.grantValues(grant)),
            ([row]) =>
              row === undefined ? "Lost" as const : row["resign"] === "t" ? "Resign" as const : "Renewed" as const
          )
        )
      }),
    release: (grant) =>
      named(
        grant.name,
        Effect.flatMap(change(Sql.release, Table.grantValues(grant)), (rows) =>
          rows.length > 0 ? notify(grant.name) : Effect.void)
      ),
    requestResign: (name, token) =>
      named(
        name,
        Effect.flatMap(change(Sql.requestResign, [name, String(token)]), (rows) =>
          Effect.as(rows.length > 0 ? notify(name) : Effect.void, rows.length > 0))
      ),
    changed: (name) => Effect.zipRight(store.connections.listen, hints.changed(name))
  }
}

const millisOf = (input: Duration.DurationInput | undefined, whenAbsent: Duration.Duration): Duration.Duration =>
  Duration.decode(input ?? whenAbsent)

/** The parsed URL, and an effect that opens a connection. */
const prepareOpening = (options: PostgresOptions, onNotification: (lease: string) => void) => {
  const url = Redacted.isRedacted(options.url) ? options.url : Redacted.make(options.url)
  return Either.mapBoth(PostgresUrl.parse(Redacted.value(url)), {
    onLeft: (problem) => new StoreRefused({ reason: `the URL of the lease store is wrong: ${problem}` }),
    onRight: ({ location }) => ({
      location,
      opening: open({
        url,
        password: options.password,
        connectTimeout: millisOf(options.connectTimeout, Duration.seconds(10)),
        onNotification
      })
    })
  })
}

/**
 * Connects to a server when the first statement is sent, until the scope closes. Fails with `StoreRefused` if the URL is wrong.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: PostgresOptions
): Effect.Effect<LeaseStore["Type"], StoreRefused, Scope.Scope> =>
  Effect.gen(function*() {
    const hints = makeHints()
    const { location, opening } = yield* prepareOpening(options, hints.notify)
    const connections = yield* makeConnections(opening)
    const attemptTimeout = millisOf(options.attemptTimeout, LeaseTimes.defaults.attemptTimeout)
    return operations({ location, connections, attemptTimeout, hasTable: false, role: "" }, hints)
  })

/**
 * `make` as a layer. Bind it to a constant: two layers have connections of their own.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPostgres = (options: PostgresOptions): Layer.Layer<LeaseStore, StoreRefused> =>
  Layer.scoped(LeaseStore, make(options))

/**
 * Checks whether a server can keep leases, without changing anything in it: its version and settings, the table, and the rights of
 * the role. Fails with `StoreRefused` if the URL is wrong.
 *
 * @since 0.1.0
 * @category checks
 */
export const diagnose = (
  options: PostgresOptions
): Effect.Effect<ReadonlyArray<PostgresDiagnosis.PostgresFinding>, StoreRefused> =>
  Effect.flatMap(
    prepareOpening(options, () => {}),
    ({ location, opening }) => PostgresDiagnosis.diagnose(location, opening)
  )
