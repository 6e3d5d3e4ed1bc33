/**
 * The program in its process: signals and exit status. Importing this runs it; `main.ts` does.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as NodePath from "node:path"
import { DrainCut } from "../port/DrainCut.ts"
import * as ExitStatus from "./ExitStatus.ts"
import { program } from "./program.ts"

// The first signal interrupts the program (runMain); the second cuts the drain short; a third ends the process. Those that
// come together are one: several that stop a gateway at one time cannot know of each other before its record says so.
const sameRequestMillis = 500
const drainCut = Deferred.unsafeMake<void>(FiberId.none)
let signals = 0
let lastAt = Number.NEGATIVE_INFINITY
const onSignal = () => {
  const now = performance.now()
  if (now - lastAt < sameRequestMillis) return
  lastAt = now
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

program({
  argv: process.argv.slice(2),
  isTerminal: process.stderr.isTTY === true,
  stdoutIsTerminal: process.stdout.isTTY === true,
  columns: process.stdout.isTTY === true ? process.stdout.columns : undefined,
  process: {
    platform: process.platform,
    pid: process.pid,
    parentPid: process.ppid,
    execPath: process.execPath,
    scriptPath: NodePath.resolve(process.argv[1] ?? "")
  }
}).pipe(
  Effect.provideService(DrainCut, Deferred.await(drainCut)),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    disablePrettyLogger: true,
    teardown: (exit, onExit) => onExit(ExitStatus.fromExit(exit))
  })
)
