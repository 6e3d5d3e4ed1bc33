/** `Gateway.layer`: `gateway <port> <folder>`. */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { Gateway } from "gateway-lock"
import { App } from "./app.ts"

const [port, folder] = process.argv.slice(-2)

const Main = App.pipe(
  Layer.provideMerge(Layer.scopedDiscard(Effect.log("listening"))),
  Layer.provideMerge(
    Gateway.layer({ port: Number(port), stateDir: `${folder}/state`, configPath: `${folder}/gateway.json` })
  )
)

NodeRuntime.runMain(Gateway.launch(Main))
