/**
 * Provides the services by which the program uses its host: files, processes, locks and the network. A start may end at once,
 * because another gateway already runs. To keep such a start fast, code that it does not need is loaded later.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as MutableRef from "effect/MutableRef"
import * as BlockingFiles from "../host/BlockingFiles.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import * as KernelLock from "../host/KernelLock.ts"
import * as LinkTarget from "../host/LinkTarget.ts"
import * as PlatformFolders from "../host/PlatformFolders.ts"
import * as ProbeTransport from "../host/ProbeTransport.ts"
import * as ProcessTable from "../host/ProcessTable.ts"
import * as QuickFiles from "../host/QuickFiles.ts"
import { memoized } from "../internal/memoized.ts"
import * as OwnerWatch from "../probe/OwnerWatch.ts"

/**
 * The tag `CommandExecutor`, by its key. The module that has the tag makes a sink when it is loaded, and so loads all of Effect's
 * streams.
 */
const Executor = Context.GenericTag<CommandExecutor.CommandExecutor>("@effect/platform/CommandExecutor")

/** An object that `make` makes when the first of its properties is read. */
const madeOnUse = <A extends object>(make: () => A): A => {
  let made: A | undefined
  return new Proxy<A>(Object.create(null), { get: (_, name) => Reflect.get(made ??= make(), name) })
}

/** Starts programs. The code that starts programs is loaded when the first program is started. */
const commands = Effect.gen(function*() {
  const context = yield* Effect.context<FileSystem.FileSystem>()
  const loaded = yield* memoized(
    Effect.promise(() => import("@effect/platform-node/NodeCommandExecutor")).pipe(
      Effect.flatMap(({ layer }) => Layer.build(layer)),
      Effect.map(Context.get(Executor)),
      // The scope can close at once, because the executor holds no resources.
      Effect.scoped,
      Effect.provide(context)
    )
  )
  return Context.make(
    Executor,
    madeOnUse(() => CommandExecutor.makeExecutor((command) => Effect.flatMap(loaded, (_) => _.start(command))))
  )
})

/**
 * Builds the layers one after the other into one context. Merged layers would be memoized and reference-counted, which
 * would cost every start a fraction of a millisecond.
 */
export const layer = Layer.scopedContext(Effect.gen(function*() {
  const isAlone = MutableRef.make(true)
  const fs = Context.get(yield* Layer.build(NodeFileSystem.layer), FileSystem.FileSystem)
  const quick = QuickFiles.make(fs, yield* HostPlatform, isAlone)
  const files = Context.make(FileSystem.FileSystem, BlockingFiles.make(quick))
  const programs = yield* Effect.provide(commands, files)
  const machine = Context.merge(files, programs)
  const processes = yield* Effect.provide(Layer.build(ProcessTable.layerLive), machine)
  const locks = yield* Layer.build(KernelLock.layerLive)
  const network = yield* Layer.build(ProbeTransport.layerLive)
  const watch = yield* Layer.build(OwnerWatch.layerLive)
  const folders = yield* Layer.build(PlatformFolders.layerLive)
  return Context.mergeAll(machine, processes, locks, network, watch, folders).pipe(
    Context.add(LinkTarget.LinkTarget, LinkTarget.live),
    Context.add(QuickFiles.IsAlone, isAlone),
    // A start of the program serves nothing beside it.
    Context.add(BlockingFiles.BlockingFiles, BlockingFiles.local)
  )
}))
