/**
 * An app that may run on several hosts, of which one leads. Only the leader can write: each write is fenced by the token of the lease
 * in the same database.
 */
import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { Config, Effect, Layer } from "effect"
import { Gateway, Leadership } from "gateway-lock"
import * as FencedWrite from "gateway-lock/FencedWrite"
import * as PostgresLeaseStore from "gateway-lock/PostgresLeaseStore"

const url = Config.redacted("DATABASE_URL")

const Database = PgClient.layerConfig({ url })
const Store = Layer.unwrapEffect(Effect.map(url, (url) => PostgresLeaseStore.layerPostgres({ url })))
const Server = Layer.unwrapEffect(Effect.map(
  Config.port("PORT").pipe(Config.withDefault(18789)),
  (port) => Gateway.layerWithLease({ port, lease: { name: "visits" } })
))

const Table = Layer.effectDiscard(Effect.gen(function*() {
  const leadership = yield* Leadership.Leadership
  const sql = yield* SqlClient.SqlClient
  yield* FencedWrite.fenced(leadership)(
    sql`CREATE TABLE IF NOT EXISTS visits (token bigint PRIMARY KEY, count int NOT NULL)`
  )
}))

const visit = Effect.gen(function*() {
  const leadership = yield* Leadership.Leadership
  const sql = yield* SqlClient.SqlClient
  const token = String(leadership.fencingToken)
  const [row] = yield* sql<{ readonly count: number }>`
    INSERT INTO visits VALUES (${token}, 1) ON CONFLICT (token) DO UPDATE SET count = visits.count + 1 RETURNING count
  `.pipe(FencedWrite.fenced(leadership))
  return yield* HttpServerResponse.json({ token, count: row?.count })
})

const Main = HttpRouter.empty.pipe(
  HttpRouter.post("/visits", visit),
  HttpServer.serve(),
  // Built once this host leads.
  Layer.provide(Table),
  Layer.provide(Database),
  Layer.provideMerge(Server),
  Layer.provide(Store)
)

NodeRuntime.runMain(Gateway.launch(Main))
