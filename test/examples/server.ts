import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Layer } from "effect"
import { Gateway } from "gateway-lock"

const Main = HttpRouter.empty.pipe(
  HttpRouter.get("/hello", HttpServerResponse.text("world")),
  HttpServer.serve(),
  Layer.provideMerge(Gateway.layer({ port: 18789 }))
)

NodeRuntime.runMain(Gateway.launch(Main))
