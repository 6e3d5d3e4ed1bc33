/** RPC over a WebSocket. */
import { HttpLayerRouter } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { RpcSerialization, RpcServer } from "@effect/rpc"
import { Config, Effect, Layer, Schedule, Stream } from "effect"
import { Gateway } from "gateway-lock"
import { Counting } from "./rpc-protocol.ts"

const CountingLive = Counting.toLayer({
  add: ({ a, b }) => Effect.succeed(a + b),
  count: ({ to }) => Stream.range(1, to).pipe(Stream.schedule(Schedule.spaced("10 millis")))
})

const Rpc = RpcServer.layerHttpRouter({ group: Counting, path: "/rpc", protocol: "websocket" }).pipe(
  Layer.provide(CountingLive),
  Layer.provide(RpcSerialization.layerJson)
)

const Main = HttpLayerRouter.serve(Rpc).pipe(
  Layer.provideMerge(Gateway.layerConfig({ port: Config.port("PORT").pipe(Config.withDefault(18789)) }))
)

NodeRuntime.runMain(Gateway.launch(Main))
