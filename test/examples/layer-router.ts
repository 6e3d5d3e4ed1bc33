/** Routes as layers, with `HttpLayerRouter`. */
import { HttpLayerRouter, HttpServerResponse } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer } from "effect"
import { Gateway } from "gateway-lock"

const Hello = HttpLayerRouter.add("GET", "/hello", HttpServerResponse.text("world"))

/** Any route can use the service `Gateway.Gateway`, which describes the running gateway. */
const Whoami = HttpLayerRouter.add(
  "GET",
  "/whoami",
  Effect.flatMap(Gateway.Gateway, ({ instanceId, url }) => HttpServerResponse.json({ instanceId, url }))
)

const Main = HttpLayerRouter.serve(Layer.merge(Hello, Whoami)).pipe(
  Layer.provideMerge(Gateway.layerConfig({ port: Config.port("PORT").pipe(Config.withDefault(18789)) }))
)

NodeRuntime.runMain(Gateway.launch(Main))
