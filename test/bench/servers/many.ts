/** Several gateways in one process: `many <first> <count> <folder>`. Each has a state directory of its own in the folder. */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { Gateway } from "gateway-lock"
import { App } from "./app.ts"

const [first, count, folder] = process.argv.slice(-3)

const gateway = (at: number) => {
  const stateDir = `${folder}/p${at}`
  return Layer.fresh(App).pipe(
    Layer.provide(Layer.fresh(Gateway.layer({ port: 0, stateDir, configPath: `${stateDir}/gateway.json` })))
  )
}

const all = Array.from({ length: Number(count) }, (_, at) => gateway(Number(first) + at))

const Main = Layer.scopedDiscard(Effect.forEach(all, (layer) => Layer.build(layer), { concurrency: 8, discard: true }))

NodeRuntime.runMain(Layer.launch(Layer.tap(Main, () => Effect.sync(() => process.stdout.write("listening\n")))))
