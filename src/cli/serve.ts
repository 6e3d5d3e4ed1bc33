/**
 * What the shipped program serves. Loaded only once the lock is held: a start that is refused does not pay for it.
 */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { GatewayConfig } from "../GatewayConfig.ts"
import * as Gateway from "../GatewayInstance.ts"
import * as NodeServerSocket from "../port/NodeServerSocket.ts"

/** Nothing but what the gateway answers by itself. */
const App = HttpServer.serve(HttpRouter.empty)

const Announce = Layer.effectDiscard(Effect.gen(function*() {
  const { record, url } = yield* Gateway.Gateway
  const { pid } = yield* record
  yield* Effect.logInfo(`gateway listening on ${url} (pid ${pid})`)
}))

export const layer = (config: GatewayConfig) =>
  Announce.pipe(
    Layer.provideMerge(App),
    Layer.provide(Gateway.layerServing({ host: config.host, port: config.port, drainTimeout: config.drainTimeout })),
    Layer.provide(NodeServerSocket.layer)
  )
