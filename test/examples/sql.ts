/** An app with an SQLite file. The app's migrations run only while this process holds the gateway lock. */
import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { LibsqlClient, LibsqlMigrator } from "@effect/sql-libsql"
import { Config, Effect, Layer } from "effect"
import { Gateway } from "gateway-lock"

const Database = LibsqlClient.layerConfig({
  url: Config.string("DATABASE_URL").pipe(Config.withDefault("file:visits.db"))
})

const Migrations = LibsqlMigrator.layer({
  loader: LibsqlMigrator.fromRecord({
    "1_visits": Effect.flatMap(SqlClient.SqlClient, (sql) => sql`CREATE TABLE visits (path TEXT NOT NULL)`),
    "2_when": Effect.flatMap(SqlClient.SqlClient, (sql) => sql`ALTER TABLE visits ADD COLUMN at INTEGER`)
  })
})

const count = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`INSERT INTO visits (path, at) VALUES ('/visits', unixepoch())`
  const rows = yield* sql<{ readonly visits: number }>`SELECT count(*) AS visits FROM visits`
  return yield* HttpServerResponse.json(rows[0])
})

const Main = HttpRouter.empty.pipe(
  HttpRouter.get("/visits", count),
  HttpServer.serve(),
  // The app, the migrations and the database are built after the gateway has acquired its lock. They are closed before the
  // gateway releases the lock. Until the migrations are done, /startupz answers "starting".
  Layer.provide(Migrations),
  Layer.provide(Database),
  Layer.provideMerge(Gateway.layerConfig({ port: Config.port("PORT").pipe(Config.withDefault(18789)) }))
)

NodeRuntime.runMain(Gateway.launch(Main))
