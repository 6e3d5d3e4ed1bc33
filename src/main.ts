#!/usr/bin/env node
import * as NodeCommandExecutor from "@effect/platform-node/NodeCommandExecutor"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as ExitStatus from "./cli/ExitStatus.ts"
import { program } from "./cli/program.ts"
import * as KernelLock from "./lock/KernelLock.ts"
import * as ProcessTable from "./lock/ProcessTable.ts"
import * as PlatformFolders from "./PlatformFolders.ts"
import { DrainCut } from "./port/DrainCut.ts"
import * as ProbeTransport from "./port/ProbeTransport.ts"

// The first signal interrupts the program (runMain); the second cuts the drain short; a third ends the process.
const drainCut = Deferred.unsafeMake<void>(FiberId.none)
let signals = 0
const onSignal = () => {
  signals += 1
  if (signals === 2) {
    Deferred.unsafeDone(drainCut, Effect.void)
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal)
  }
}
process.on("SIGINT", onSignal).on("SIGTERM", onSignal)

// A reader of our output that goes away must not take the gateway with it.
process.stdout.on("error", () => {})
process.stderr.on("error", () => {})

const Live = Layer.mergeAll(
  KernelLock.layer,
  ProcessTable.layerLive,
  ProbeTransport.layer,
  PlatformFolders.layerLive
).pipe(
  Layer.provideMerge(NodeCommandExecutor.layer),
  Layer.provideMerge(NodeFileSystem.layer)
)

program({ argv: process.argv.slice(2), isTerminal: process.stderr.isTTY === true }).pipe(
  Effect.provide(Live),
  Effect.provideService(DrainCut, Deferred.await(drainCut)),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    disablePrettyLogger: true,
    teardown: (exit, onExit) => onExit(ExitStatus.fromExit(exit))
  })
)
