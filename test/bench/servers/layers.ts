/**
 * Serves the same app twice in one process, with `Gateway.layer` and with `NodeHttpServer.layer`: `layers <port> <other port>
 * <folder>`.
 *
 * So the difference in speed is the cost of `Gateway.layer` alone. Two processes of the same program can differ in speed by 8
 * percent during their whole lives. If each layer ran in its own process, that difference would hide the cost.
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
