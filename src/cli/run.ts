/**
 * `gateway run`: lock, then listen, then stay.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { GatewayConfig } from "../GatewayConfig.ts"
import * as LockFile from "../lock/LockFile.ts"

/**
 * Never succeeds: ends by interruption, by a start error, or by `LockLost`.
 */
export const run = (config: GatewayConfig) => {
  const Lock = LockFile.layerWithProbes({
    stateDir: config.stateDir,
    configPath: config.configPath,
    address: { host: config.host, port: config.port },
    timeout: config.lockTimeout,
    pollInterval: config.lockPollInterval,
    staleAfter: config.lockStaleAfter,
    healthProbeTimeout: config.healthProbeTimeout
  })
  const Serving = Layer.unwrapEffect(
    Effect.map(LockFile.LockFile, () => import("./serve.ts")).pipe(
      Effect.flatMap((module) => Effect.promise(() => module)),
      Effect.map((serve) => serve.layer(config))
    )
  )
  return Effect.scoped(Effect.flatMap(
    Layer.build(Serving.pipe(Layer.provideMerge(Lock))),
    (context) => Context.get(context, LockFile.LockFile).lost
  ))
}
