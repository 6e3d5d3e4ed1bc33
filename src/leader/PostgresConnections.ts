/**
 * The connections of a store to PostgreSQL: at most two, used in turn, so that a second one is warm when the first one fails.
 *
 * After an error or an interruption, the connection is destroyed at once. Its statement may still run on the server. `PgClient`
 * of `@effect/sql-pg` 0.53 is not used here: it gives a connection back after an error, and an interruption cancels the statement
 * through the pool, which can take five seconds.
 *
 * @internal
 */
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { Socket } from "node:net"
import type * as Pg from "pg"
import { short } from "../internal/durationText.ts"
import { type StoreError, StoreFailed, StoreRefused } from "./LeaseStore.ts"
import { classify, isConflict } from "./PostgresErrors.ts"
import * as PostgresUrl from "./PostgresUrl.ts"

/** All values are asked for as text: parsers of types are global in `pg`, and the app may have changed them. */
export type Row = Readonly<Record<string, string | null>>

/** The channel of the hints. Its payload is the name of a lease. */
export const channel = "gateway_lock"

export interface Connection {
  /** Whether a pooler is between, which hands each transaction to another session. Then nothing is listened to. */
  readonly isPooled: boolean
  readonly isOpen: () => boolean
  /** Runs statements. Without values, there may be several in one transaction. An interruption destroys the connection. */
  readonly query: (text: string, values?: ReadonlyArray<string | null>) => Effect.Effect<ReadonlyArray<Row>, PgError>
  readonly destroy: () => void
  /** Says goodbye to the server, for at most half a second. */
  readonly close: Effect.Effect<void>
}

export interface ConnectionOptions {
  readonly url: Redacted.Redacted
  readonly password: Effect.Effect<Redacted.Redacted> | undefined
  readonly connectTimeout: Duration.Duration
  /** Runs with the name of a lease that was released. */
  readonly onNotification: (lease: string) => void
}

/** An error of `pg`, as it was thrown. */
export class PgError extends Data.TaggedError("PgError")<{ readonly cause: unknown }> {}

const pgError = (cause: unknown): PgError => new PgError({ cause })

const textOnly = { getTypeParser: () => (value: unknown) => value }

const load: Effect.Effect<typeof Pg, StoreRefused> = Effect.tryPromise({
  try: () => import("pg"),
  catch: (cause) => new StoreRefused({ reason: "the package pg cannot be loaded: run npm install pg", cause })
})

const connectionOf = (client: Pg.Client, socket: Socket, isPooled: boolean): Connection => ({
  isPooled,
  isOpen: () => !socket.destroyed && socket.writable,
  query: (text, values) =>
    Effect.async((resume) => {
      client.query<Row>(
        values === undefined ? { text } : { text, values: [...values] },
        (cause, result) => resume(cause ? Effect.fail(pgError(cause)) : Effect.succeed(result.rows ?? []))
      )
      return Effect.sync(() => socket.destroy())
    }),
  destroy: () => void socket.destroy(),
  close: Effect.async<void>((resume) => {
    client.end(() => resume(Effect.void))
  }).pipe(
    Effect.timeoutOption("500 millis"),
    Effect.zipRight(Effect.sync(() => socket.destroy())),
    Effect.asVoid
  )
})

/** Connects, and listens to hints if the server itself answers. */
const connect = (
  pg: typeof Pg,
  socket: Socket,
  connectionString: string,
  onNotification: ConnectionOptions["onNotification"]
): Effect.Effect<Connection, PgError> =>
  Effect.gen(function*() {
    const client = yield* Effect.try({
      try: () =>
        new pg.Client({
          connectionString,
          stream: () => socket,
          keepAlive: true,
          keepAliveInitialDelayMillis: 5000,
          fallback_application_name: "gateway-lock",
          types: textOnly
        }),
      catch: pgError
    })
    client.on("error", () => socket.destroy())
    client.on("end", () => socket.destroy())
    client.on("notification", (message) => {
      if (message.channel === channel) onNotification(message.payload ?? "")
    })
    yield* Effect.async<void, PgError>((resume) => {
      client.connect((cause?: Error | null) => resume(cause ? Effect.fail(pgError(cause)) : Effect.void))
    })
    const first = connectionOf(client, socket, true)
    const [row] = yield* first.query(
      "SELECT pg_catalog.pg_backend_pid() AS pid, pg_catalog.pg_is_in_recovery() AS in_recovery"
    )
    // A pooler shows its clients a process id that it makes up.
    const isPooled = !("processID" in client) || String(client.processID) !== row?.["pid"]
    // Some servers that speak the protocol of PostgreSQL cannot listen. Then the candidates look at their interval.
    if (!isPooled && row?.["in_recovery"] === "f") yield* Effect.ignore(first.query(`LISTEN ${channel}`))
    return connectionOf(client, socket, isPooled)
  }).pipe(Effect.onError(() => Effect.sync(() => socket.destroy())))

/** Opens a connection. It may take longer than one statement may, since an encrypted connection needs several round trips. */
export const open = (options: ConnectionOptions): Effect.Effect<Connection, StoreError> =>
  Effect.gen(function*() {
    const pg = yield* load
    const password = options.password === undefined ? undefined : yield* options.password
    const url = PostgresUrl.parse(
      Redacted.value(options.url),
      password === undefined ? undefined : Redacted.value(password)
    )
    if (url._tag === "Left") return yield* new StoreRefused({ reason: url.left })
    const socket = new Socket()
    return yield* connect(pg, socket, url.right.connectionString, options.onNotification).pipe(
      Effect.mapError(({ cause }) => classify(cause, "")),
      Effect.timeoutFail({
        duration: options.connectTimeout,
        onTimeout: () => new StoreFailed({ reason: `no connection within ${short(options.connectTimeout)}` })
      })
    )
  })

/** A statement that waits for a connection. */
interface Waiter {
  readonly answer: Deferred.Deferred<Connection, StoreError>
  connection: Connection | undefined
}

export interface Connections {
  /** Runs statements on a connection. If they fail or are interrupted, the connection is destroyed. */
  readonly use: <A>(run: (connection: Connection) => Effect.Effect<A, StoreError>) => Effect.Effect<A, StoreError>
  /** Keeps a second connection open from now on. */
  readonly keepSpare: () => void
  /** Opens a connection if there is none, so that hints arrive. */
  readonly listen: Effect.Effect<void>
}

const mostConnections = 2

interface Pool {
  /** Those that no statement uses, the next one first. */
  idle: ReadonlyArray<Connection>
  readonly busy: Set<Connection>
  readonly waiters: Array<Waiter>
  /** How many are being opened. */
  openings: number
  /** How many are kept open. */
  kept: number
  isClosed: boolean
  /** Opens one more. */
  readonly start: () => void
}

const total = ({ busy, idle, openings }: Pool): number => idle.length + busy.size + openings

const dropClosed = (pool: Pool): void => {
  pool.idle = pool.idle.filter((connection) => connection.isOpen())
}

/**
 * Gives a connection to the statement that has waited longest. A new connection is used next: if another one has just failed, its
 * neighbour may be broken too.
 */
const hand = (pool: Pool, connection: Connection, isNew = false): void => {
  if (pool.isClosed || !connection.isOpen()) return connection.destroy()
  const waiter = pool.waiters.shift()
  if (waiter === undefined) {
    pool.idle = isNew ? [connection, ...pool.idle] : [...pool.idle, connection]
    return
  }
  pool.busy.add(connection)
  waiter.connection = connection
  Deferred.unsafeDone(waiter.answer, Effect.succeed(connection))
}

/** Puts a statement into the queue, and sees to it that it gets a connection. */
const request = (pool: Pool, answer: Waiter["answer"]): Waiter => {
  const waiter: Waiter = { answer, connection: undefined }
  pool.waiters.push(waiter)
  dropClosed(pool)
  const [next, ...rest] = pool.idle
  if (next !== undefined) {
    pool.idle = rest
    hand(pool, next)
  } else if (total(pool) < mostConnections) pool.start()
  return waiter
}

const giveBack = (pool: Pool, connection: Connection, isGood: boolean): void => {
  pool.busy.delete(connection)
  if (isGood) hand(pool, connection)
  else connection.destroy()
  dropClosed(pool)
  if (pool.isClosed) return
  const missing = Math.max(pool.kept, Math.min(pool.waiters.length, mostConnections)) - total(pool)
  for (let count = 0; count < missing; count++) pool.start()
}

/** Ends the wait of a statement, which may have just got a connection. */
const cancel = (pool: Pool, waiter: Waiter): void => {
  const at = pool.waiters.indexOf(waiter)
  if (at >= 0) pool.waiters.splice(at, 1)
  else if (waiter.connection !== undefined) giveBack(pool, waiter.connection, true)
}

/** An error of an opening is an error of all statements that wait. */
const failAll = (pool: Pool, error: StoreError): void => {
  for (const { answer } of pool.waiters.splice(0)) Deferred.unsafeDone(answer, Effect.fail(error))
}

const makePool = (opening: Effect.Effect<Connection, StoreError>): Effect.Effect<Pool, never, Scope.Scope> =>
  Effect.gen(function*() {
    const fork = yield* FiberSet.makeRuntime<never>()
    const opened = Effect.matchEffect(opening, {
      onSuccess: (connection) =>
        Effect.sync(() => {
          pool.openings -= 1
          hand(pool, connection, true)
        }),
      onFailure: (error) =>
        Effect.sync(() => {
          pool.openings -= 1
          failAll(pool, error)
        })
    })
    const pool: Pool = {
      idle: [],
      busy: new Set(),
      waiters: [],
      openings: 0,
      kept: 1,
      isClosed: false,
      start: () => {
        pool.openings += 1
        fork(opened)
      }
    }
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        pool.isClosed = true
        for (const connection of pool.busy) connection.destroy()
        return Effect.forEach(pool.idle, ({ close }) => close, { concurrency: "unbounded", discard: true })
      })
    )
    return pool
  })

/**
 * Makes the connections. They are closed with the scope. None is opened before the first statement.
 *
 * Connections are used in turn, so that one that broke while it was idle is noticed before it is needed.
 */
export const make = (opening: Effect.Effect<Connection, StoreError>): Effect.Effect<Connections, never, Scope.Scope> =>
  Effect.map(makePool(opening), (pool) => ({
    use: (run) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const waiter = request(pool, yield* Deferred.make<Connection, StoreError>())
          const connection = yield* restore(Deferred.await(waiter.answer)).pipe(
            Effect.onInterrupt(() => Effect.sync(() => cancel(pool, waiter)))
          )
          const exit = yield* Effect.exit(restore(run(connection)))
          giveBack(pool, connection, Exit.isSuccess(exit))
          return yield* exit
        })
      ),
    keepSpare: () => {
      pool.kept = mostConnections
    },
    listen: Effect.sync(() => {
      dropClosed(pool)
      if (!pool.isClosed && total(pool) === 0) pool.start()
    })
  }))

/** Runs a statement, and repeats it if it met a concurrent change: then it had no effect. */
export const statement = (
  connection: Connection,
  text: string,
  values: ReadonlyArray<string | null>
): Effect.Effect<ReadonlyArray<Row>, PgError> =>
  Effect.retry(connection.query(text, values), { while: ({ cause }) => isConflict(cause), times: 10 })
