/** A worker without a port. Any number of copies may be started, but only one at a time works on the jobs in the queue folder. */
import { FileSystem } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer, Schedule } from "effect"
import { Gateway, LockFile } from "gateway-lock"

const settings = Config.all({ queue: Config.string("QUEUE"), done: Config.string("DONE") })

const Lock = Layer.unwrapEffect(
  Effect.map(settings, ({ queue }) => LockFile.layerWithProbes({ stateDir: queue, configPath: queue }))
)

const work = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const { done, queue } = yield* settings
  for (const job of yield* fs.readDirectory(queue)) {
    if (job.endsWith(".job")) yield* fs.rename(`${queue}/${job}`, `${done}/${job}`)
  }
})

Effect.logInfo("working").pipe(
  Effect.zipRight(Effect.repeat(work, Schedule.spaced("100 millis"))),
  LockFile.whileHeld,
  Effect.provide(Layer.provideMerge(Lock, Gateway.layerNode)),
  NodeRuntime.runMain
)
