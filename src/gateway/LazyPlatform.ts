/**
 * Provides the services by which the program uses its host: files, processes, locks and the network. A start may end at once,
 * because another gateway already runs. To keep such a start fast, code that it does not need is loaded later.
 */
import * as CommandExecutor from "@effect/platform/CommandExecutor"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as BlockingFiles from "../host/BlockingFiles.ts"
import * as KernelLock from "../host/KernelLock.ts"
import * as PlatformFolders from "../host/PlatformFolders.ts"
import * as ProbeTransport from "../host/ProbeTransport.ts"
import * as ProcessTable from "../host/ProcessTable.ts"
import { memoized } from "../internal/memoized.ts"
import * as OwnerWatch from "../probe/OwnerWatch.ts"

/** Starts programs. The code that starts programs is loaded when the first program is started. */
const Commands = Layer.effect(
  CommandExecutor.CommandExecutor,
  Effect.gen(function*() {
    const context = yield* Effect.context<FileSystem.FileSystem>()
    const loaded = yield* memoized(
      Effect.promise(() => import("@effect/platform-node/NodeCommandExecutor")).pipe(
        Effect.flatMap(({ layer }) => Layer.build(layer)),
        Effect.map(Context.get(CommandExecutor.CommandExecutor)),
        // The scope can close at once, because the executor holds no resources.
        Effect.scoped,
        Effect.provide(context)
      )
    )
    return CommandExecutor.makeExecutor((command) => Effect.flatMap(loaded, (executor) => executor.start(command)))
  })
)

/**
 * Builds the layers one after the other into one context. Merged layers would be memoized and reference-counted, which
 * would cost every start a fraction of a millisecond.
 */
export const layer = Layer.scopedContext(Effect.gen(function*() {
  const files = yield* Layer.build(BlockingFiles.layer)
  // A start of the program serves nothing beside it.
  const blocking = Context.make(BlockingFiles.BlockingFiles, BlockingFiles.local)
  const programs = yield* Effect.provide(Layer.build(Commands), files)
  const machine = Context.merge(files, programs)
  const processes = yield* Effect.provide(Layer.build(ProcessTable.layerLive), machine)
  const locks = yield* Layer.build(KernelLock.layerLive)
  const network = yield* Layer.build(ProbeTransport.layerLive)
  const watch = yield* Layer.build(OwnerWatch.layerLive)
  const folders = yield* Layer.build(PlatformFolders.layerLive)
  return Context.mergeAll(machine, blocking, processes, locks, network, watch, folders)
}))
