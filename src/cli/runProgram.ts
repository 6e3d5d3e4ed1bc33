/**
 * Runs the program in this process, and handles signals, uncaught exceptions and the exit status. Import this module only to run
 * the program: it listens for signals at once.
 */
// This code runs outside of fibers, so it uses Node's own timers, clock, console and environment.
// @effect-diagnostics globalDate:off
// @effect-diagnostics globalTimers:off
// @effect-diagnostics globalTimersInEffect:off
// @effect-diagnostics globalConsole:off
// @effect-diagnostics globalConsoleInEffect:off
// @effect-diagnostics processEnv:off
// @effect-diagnostics processEnvInEffect:off
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Runtime from "@effect/platform/Runtime"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import { closeSync } from "node:fs"
import { constants } from "node:os"
import * as NodePath from "node:path"
import * as Timers from "node:timers"
import { exit } from "../host/endProcess.ts"
import { MayHave } from "../internal/environment.ts"
import { jsonLine } from "../report/jsonLine.ts"
import { defectToJson } from "../report/otherFailures.ts"
import { DrainCut } from "../server/DrainCut.ts"
import { StopRequest } from "../server/StopRequest.ts"
import type { LogFormat } from "../settings/GatewayConfig.ts"
import * as ExitStatus from "./ExitStatus.ts"
import { program } from "./program.ts"
import * as Stdout from "./Stdout.ts"
import * as StopSignals from "./stopSignals.ts"
import { relaysSignals } from "./typedWords.ts"

/** Whether this process, which relays signals, has received SIGHUP. The kernel sends SIGHUP when the terminal is closed. */
let isHungUp = false

const drainCut = Deferred.unsafeMake<void>(FiberId.none)
/**
 * Whether this process needs its own signal handling, because it relays signals to the program that it starts: `gateway exec`, and
 * `gateway service` with a command of the service manager.
 */
const relays = relaysSignals(process.argv.slice(2))
const signals = relays ? undefined : StopSignals.listen({
  source: process,
  platform: process.platform,
  cutDrain: () => Deferred.unsafeDone(drainCut, Effect.void),
  now: () => performance.now(),
  later: (millis, call) => {
    Timers.setTimeout(call, millis).unref()
  }
})

if (relays) {
  process.on("SIGHUP", () => {
    isHungUp = true
  })
}

let format: LogFormat = "logfmt"
const showException = (cause: unknown): void =>
  console.error(
    format === "json" ? defectToJson(Cause.pretty(Cause.die(cause)), Date.now()) : cause
  )

// After an uncaught exception, the program drains (it lets open connections finish) and releases its lock. If the drain and the
// release take longer than this time, the process exits.
const uncaughtGraceMillis = 60_000
const uncaught = Deferred.unsafeMake<never>(FiberId.none)
let exceptions = 0
let firstException: unknown
process.on("uncaughtException", (cause) => {
  exceptions += 1
  if (exceptions > 1) return showException(cause)
  firstException = cause
  Deferred.unsafeDone(uncaught, Effect.die(cause))
  Timers.setTimeout(() => exit(ExitStatus.ExitStatus.defect), uncaughtGraceMillis).unref()
})

// If the reader of stdout or stderr closes its end of the pipe, the next write emits an error (EPIPE). Without a listener, this
// error would be uncaught and end the gateway.
process.stdout.on("error", () => {})
process.stderr.on("error", () => {})

/**
 * The exit status of the program. If an uncaught exception came while the program was already ending for another reason, this
 * function prints the exception, and the status is that of a defect.
 */
const statusOf = (ended: Exit.Exit<unknown, unknown>): number => {
  const status = ExitStatus.fromExit(ended)
  if (exceptions === 0 || status === ExitStatus.ExitStatus.defect) return status
  showException(firstException)
  return ExitStatus.ExitStatus.defect
}

/**
 * Closes the standard streams. Workaround for nodejs/node#51519: when Node 20 exits, it restores the settings of its
 * terminals, and aborts if a terminal no longer exists. Later versions have the fix (nodejs/node#58200).
 */
const leaveTerminal = (): void => {
  for (const descriptor of [0, 1, 2]) {
    try {
      closeSync(descriptor)
    } catch {
      // The descriptor is already closed.
    }
  }
}

/** The signal that ended the command that `gateway exec` ran. `undefined` if no signal ended it. */
const signalOf = (ended: Exit.Exit<unknown, unknown>): NodeJS.Signals | undefined =>
  Exit.isSuccess(ended) && ended.value instanceof ExitStatus.EndedBySignal ? ended.value.signal : undefined

/**
 * Ends this process, which ran a command for `gateway exec`, by the signal that ended the command. The parent of this process
 * then sees the same end as if it had run the command itself. As pid 1 of a PID namespace, a process cannot end itself by a
 * signal (pid_namespaces(7)). It then exits with the status that a shell shows for the signal.
 */
const endBySignal = (signal: NodeJS.Signals): void => {
  // This process may ignore the signal: Node ignores SIGPIPE, and nohup(1) starts programs with SIGHUP ignored. Node restores a
  // signal's default action when the signal's last listener is removed. So a listener is added and removed again. SIGKILL and
  // SIGSTOP accept no listener, and no process can ignore them.
  if (signal !== "SIGKILL" && signal !== "SIGSTOP") process.on(signal, () => {})
  process.removeAllListeners(signal)
  if (process.pid !== 1) process.kill(process.pid, signal)
  // If this process still runs after the delay, it exits with the status that a shell shows for the signal. As pid 1, it has sent
  // itself no signal, so it does not wait.
  Timers.setTimeout(() => exit(128 + constants.signals[signal]), process.pid === 1 ? 0 : 50)
}

/** Like `NodeRuntime.runMain`, but does not listen for signals. It keeps this process alive until the fiber has ended. */
const runWithoutSignals = Runtime.makeRunMain(({ fiber, teardown }) => {
  const keepAlive = Timers.setInterval(() => {}, 2 ** 31 - 1)
  fiber.addObserver((ended) => {
    Timers.clearInterval(keepAlive)
    teardown(ended, (status) => process.exit(status))
  })
})

const runMain = relays ? runWithoutSignals : NodeRuntime.runMain

/** Runs the program. If `unwritten` is given, the output cannot be written for that reason. */
export const runProgram = (unwritten?: NodeJS.ErrnoException): void => {
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
    },
    environment: process.env,
    onFormat: (asked) => {
      format = asked
    },
    uncaught: Deferred.await(uncaught)
  }).pipe(
    Effect.provideService(Stdout.Stdout, unwritten === undefined ? Stdout.writeLive : () => Stdout.failed(unwritten)),
    Effect.provideService(MayHave, (name) => process.env[name] !== undefined),
    Effect.provideService(
      StopRequest,
      Effect.sync(() => exceptions === 0 ? Option.fromNullable(signals?.first()) : Option.some("an uncaught exception"))
    ),
    Effect.provideService(DrainCut, Deferred.await(drainCut)),
    runMain({
      disableErrorReporting: true,
      disablePrettyLogger: true,
      teardown: (ended, onExit) => {
        if (signals?.isHungUp() ?? isHungUp) leaveTerminal()
        const signal = signalOf(ended)
        if (signal !== undefined) return endBySignal(signal)
        exit(
          statusOf(ended),
          onExit,
          (line) => format === "json" ? jsonLine(Date.now(), "FATAL", line) : `gateway: ${line}`
        )
      }
    })
  )
}
