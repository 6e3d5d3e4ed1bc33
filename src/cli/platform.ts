/**
 * The operating system, for a start that may be refused: what is not needed to refuse it is loaded later, or never.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as KernelLock from "../lock/KernelLock.ts"
import * as ProcessTable from "../lock/ProcessTable.ts"
import * as PlatformFolders from "../PlatformFolders.ts"
import * as ProbeTransport from "../port/ProbeTransport.ts"

/** Linux tells of processes in files; elsewhere a program must be started for it. */
const Processes = Layer.suspend(() => {
  const self = ProcessTable.currentProcess()
  return self.platform === "linux"
    ? ProcessTable.layerProc(self)
    : ProcessTable.layer(self).pipe(Layer.provide(Layer.unwrapEffect(
      Effect.map(Effect.promise(() => import("@effect/platform-node/NodeCommandExecutor")), ({ layer }) => layer)
    )))
})

export const layer = Layer.mergeAll(
  KernelLock.layer,
  Processes,
  ProbeTransport.layer,
  PlatformFolders.layerLive
).pipe(Layer.provideMerge(NodeFileSystem.layer))
