/**
 * Ends this process. This is the default implementation of the service `ProcessEnd`.
 */
// This file uses Node's own timers and console. No fiber runs during an exit, so Effect's console cannot print then. Some timers
// must not keep the process alive, and only Node's timers have `unref`.
// @effect-diagnostics globalTimers:off
// @effect-diagnostics globalTimersInEffect:off
// @effect-diagnostics globalConsole:off
// @effect-diagnostics globalConsoleInEffect:off
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { writeSync } from "node:fs"
import * as Timers from "node:timers"
import type { EndOptions } from "./ProcessEnd.ts"

/** How long an exit waits for pending file system requests. */
const fileGraceMillis = 1000
/** The longest time between two looks at the pending requests. The first looks follow each other faster. */
const fileCheckMillis = 20

/**
 * Whether a thread of libuv's pool works on a file. `process.exit` waits for the end of those threads (`uv_library_shutdown` in
 * libuv's src/uv-common.c, called by `node::Exit`), so the process cannot exit while a file system hangs. Node lists the work of
 * such a thread as `FSReqCallback` or `FSReqPromise`.
 */
const hasFileRequests = (): boolean => process.getActiveResourcesInfo().some((name) => name.startsWith("FSReq"))

/**
 * Exits with a status, even while a file system hangs. If the file system hangs for more than one second, the process sends
 * itself SIGKILL, because `process.exit` would wait for the file system.
 *
 * `finish` is `process.exit` or a function that calls it. `asLine` formats the message for stderr.
 */
export const exit = (
  status: number,
  finish: (status: number) => void = process.exit,
  asLine = (message: string): string => `gateway: ${message}`
): void => {
  const deadline = process.uptime() * 1000 + fileGraceMillis
  const look = (waitMillis: number): void => {
    if (!hasFileRequests()) return finish(status)
    if (process.uptime() * 1000 < deadline) {
      Timers.setTimeout(look, waitMillis, Math.min(2 * waitMillis, fileCheckMillis))
      return
    }
    try {
      const message = `the file system does not answer; ending by SIGKILL instead of exit status ${status}`
      writeSync(2, `${asLine(message)}\n`)
    } catch {
      // stderr is closed, so the message is lost.
    }
    process.kill(process.pid, "SIGKILL")
  }
  // A command often ends within the callback of its last file request. Node lists that request until the callback has returned.
  if (hasFileRequests()) Timers.setImmediate(look, 1)
  else finish(status)
}

/**
 * Changes exit status 0 to 1. Many programs exit with 0 on SIGTERM, but here the exit follows the loss of the lock, which
 * is a failure.
 */
const turnZeroIntoOne = (status: number) => {
  if (status === 0) process.exitCode = 1
}

const sendSigterm = (): void => {
  try {
    // `process.kill` is not suitable. On Windows it ends the process at once (`uv__kill` in libuv's src/win/process.c). In a
    // worker thread it signals the main thread.
    process.emit("SIGTERM", "SIGTERM")
  } catch (cause) {
    console.error(cause)
  }
}

/**
 * How long `end` waits after `drained` has completed if `isWatched` is `true`. In this time a program that waits for the loss of
 * the lock can exit by itself.
 */
export const watcherGrace = Duration.seconds(5)

/** Calls the program's SIGTERM listeners. If the program has none, exits with status 1 when `drained` completes. */
const signalOrExit = (drained: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.suspend(() =>
    process.listenerCount("SIGTERM") > 0
      ? Effect.sync(sendSigterm)
      : Effect.zipRight(drained, Effect.sync(() => exit(1)))
  )

/** The default implementation of `ProcessEnd`. The documentation of `ProcessEnd` describes what it does. */
export const end = ({ drained, isWatched, within }: EndOptions): Effect.Effect<void> =>
  Effect.gen(function*() {
    process.off("exit", turnZeroIntoOne).on("exit", turnZeroIntoOne)
    // Both timers are unreferenced, so that they do not keep a process alive that has finished.
    Timers.setTimeout(() => exit(1), Duration.toMillis(within)).unref()
    yield* Effect.forkDaemon(
      isWatched
        ? Effect.zipRight(
          drained,
          Effect.async<void>((resume) => {
            Timers.setTimeout(() => resume(signalOrExit(Effect.void)), Duration.toMillis(watcherGrace)).unref()
          })
        )
        : signalOrExit(drained)
    )
  })
