/** Runs an `@effect/cluster` runner in the gateway's process. Only one gateway runs at a time, so the database has only one runner. */
import { Entity, SingleRunner } from "@effect/cluster"
import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Rpc } from "@effect/rpc"
import { LibsqlClient } from "@effect/sql-libsql"
import { Config, Effect, Layer, Ref, Schema } from "effect"
import { Gateway } from "gateway-lock"

const Counter = Entity.make("Counter", [Rpc.make("increment", { success: Schema.Number })])

const CounterLive = Counter.toLayer(Effect.map(Ref.make(0), (count) => ({
  increment: () => Ref.updateAndGet(count, (n) => n + 1)
})))

const increment = Effect.gen(function*() {
  const { id } = yield* HttpRouter.schemaPathParams(Schema.Struct({ id: Schema.String }))
  const counter = yield* Counter.client
  return yield* HttpServerResponse.json({ count: yield* counter(id).increment() })
})

const Runner = SingleRunner.layer({ runnerStorage: "memory" }).pipe(
  Layer.provide(LibsqlClient.layerConfig({ url: Config.string("DATABASE_URL") }))
)

const Main = HttpRouter.empty.pipe(
  HttpRouter.post("/counters/:id", increment),
  HttpServer.serve(),
  Layer.provide(CounterLive),
  Layer.provide(Runner),
  Layer.provideMerge(Gateway.layerConfig({ port: Config.port("PORT").pipe(Config.withDefault(18789)) }))
)

NodeRuntime.runMain(Gateway.launch(Main))
