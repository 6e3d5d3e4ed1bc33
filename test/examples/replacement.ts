/** A new version that starts takes the place of the running version. The running version first answers its open requests. */
import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer } from "effect"
import { Gateway } from "gateway-lock"

const settings = Config.all({ port: Config.port("PORT"), version: Config.string("VERSION") })

const main = ({ port, version }: Config.Config.Success<typeof settings>) =>
  HttpRouter.empty.pipe(
    HttpRouter.get("/version", HttpServerResponse.text(version)),
    HttpRouter.get("/report", Effect.delay(HttpServerResponse.text(`report by ${version}`), "2 seconds")),
    HttpServer.serve(),
    Layer.provideMerge(Gateway.layer({ port }))
  )

Effect.gen(function*() {
  const options = yield* settings
  const outcome = yield* Gateway.stop({
    port: options.port,
    onWaiting: ({ pid }) => Effect.logInfo(`waiting for pid ${pid} to answer what it was asked`)
  })
  if (outcome._tag === "Stopped") yield* Effect.logInfo(`took the place of pid ${outcome.record.pid}`)
  return yield* Gateway.launch(main(options))
}).pipe(NodeRuntime.runMain)
