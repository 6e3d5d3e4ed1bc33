/** `NodeHttpServer.layer`: `platform <port> <folder>`. */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { createServer } from "node:http"
import { App } from "./app.ts"

const port = Number(process.argv.at(-2))

const Main = App.pipe(
  Layer.provideMerge(Layer.scopedDiscard(Effect.log("listening"))),
  Layer.provideMerge(NodeHttpServer.layer(() => createServer(), { port, host: "127.0.0.1" }))
)

NodeRuntime.runMain(Layer.launch(Main))
