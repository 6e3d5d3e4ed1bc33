/**
 * The same app by `Gateway.layer` and by `NodeHttpServer.layer`, in one process: `layers <port> <other port> <folder>`.
 *
 * What the layer itself costs: of one program, one process can be faster than another by 8 percent for as long as it lives.
 */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { Gateway } from "gateway-lock"
import { createServer } from "node:http"
import { App } from "./app.ts"

const [port, otherPort, folder] = process.argv.slice(-3)

const Main = App.pipe(
  Layer.provideMerge(
    Gateway.layer({ port: Number(port), stateDir: `${folder}/state`, configPath: `${folder}/gateway.json` })
  )
)

const Other = Layer.fresh(App).pipe(
  Layer.provide(NodeHttpServer.layer(() => createServer(), { port: Number(otherPort), host: "127.0.0.1" }))
)

NodeRuntime.runMain(
  Gateway.launch(Layer.scopedDiscard(Effect.log("listening")).pipe(Layer.provideMerge(Layer.merge(Main, Other))))
)
