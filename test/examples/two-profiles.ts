/** Two gateways in one process, each with its own profile, port and lock. */
import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer } from "effect"
import { Gateway } from "gateway-lock"

const app = (profile: string, port: Config.Config<number>) =>
  HttpRouter.empty.pipe(
    HttpRouter.get("/", HttpServerResponse.text(profile)),
    HttpServer.serve(),
    Layer.provideMerge(Gateway.layerConfig({ profile: Config.succeed(profile), port }))
  )

const Blue = app("blue", Config.port("BLUE_PORT"))
const Green = app("green", Config.port("GREEN_PORT"))

// If one gateway cannot start or loses its lock, the other gateway is shut down cleanly as well.
Effect.all([Gateway.launch(Blue), Gateway.launch(Green)], { concurrency: "unbounded" }).pipe(NodeRuntime.runMain)
