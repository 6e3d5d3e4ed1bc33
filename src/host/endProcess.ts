/**
 * Ends this very process: the live half of `ProcessEnd`.
 */
// The machine's own timers, some of which must not keep the process alive, and its console: no fiber runs at an exit.
// @effect-diagnostics globalTimers:off
// @effect-diagnostics globalTimersInEffect:off
// @effect-diagnostics globalConsole:off
// @effect-diagnostics globalConsoleInEffect:off
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { writeSync } from "node:fs"
import * as Timers from "node:timers"
import type { EndOptions } from "./ProcessEnd.ts"

/** While a process exits, how long a file system may take to answer the requests that it has. */
const fileGraceMillis = 1000
const fileCheckMillis = 20

/**
 * Whether a thread of libuv's pool works on a file. `process.exit` joins those threads (`uv_library_shutdown`, called by
 * `node::Exit`), so while a file system hangs, the process cannot exit.
 */
const hasFileRequests = (): boolean => process.getActiveResourcesInfo().some((name) => name.startsWith("FSReq"))

/**
 * Ends the process with a status, also where a file system does not answer: then the process kills itself after one second,
 * because nothing else ends it before the file system answers. `finish` is `process.exit`, or what calls it;
 * `asLine` gives a message the form of stderr.
 */
export const exit = (
  status: number,
  finish: (status: number) => void = process.exit,
  asLine = (message: string): string => `gateway: ${message}`
): void => {
  if (!hasFileRequests()) return finish(status)
  const deadline = performance.now() + fileGraceMillis
  const checking = Timers.setInterval(() => {
    if (!hasFileRequests()) {
      Timers.clearInterval(checking)
      return finish(status)
    }
    if (performance.now() < deadline) return
    try {
      const message = `the file system does not answer; ending by SIGKILL instead of exit status ${status}`
      writeSync(2, `${asLine(message)}\n`)
    } catch {
      // Nothing reads stderr any more.
    }
    process.kill(process.pid, "SIGKILL")
  }, fileCheckMillis)
}

/** A program that answers SIGTERM with exit status 0 has not ended as it should. */
const turnZeroIntoOne = (status: number) => {
  if (status === 0) process.exitCode = 1
}

const sendSigterm = (): void => {
  try {
    // Not kill(2): Windows would end the process at once, and a worker thread would signal the main thread.
    process.emit("SIGTERM", "SIGTERM")
  } catch (cause) {
    console.error(cause)
  }
}

/** After the drain, how long a program that waits for the lost lock may take to end by itself. */
export const watcherGrace = Duration.seconds(5)

const tell = (drained: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.suspend(() =>
    process.listenerCount("SIGTERM") > 0
      ? Effect.sync(sendSigterm)
      : Effect.zipRight(drained, Effect.sync(() => exit(1)))
  )

/** See `ProcessEnd`. */
export const end = ({ drained, isWatched, within }: EndOptions): Effect.Effect<void> =>
  Effect.gen(function*() {
    process.off("exit", turnZeroIntoOne).on("exit", turnZeroIntoOne)
    // Neither timer keeps a process alive that has nothing more to do.
    Timers.setTimeout(() => exit(1), Duration.toMillis(within)).unref()
    yield* Effect.forkDaemon(
      isWatched
        ? Effect.zipRight(
          drained,
          Effect.async<void>((resume) => {
            Timers.setTimeout(() => resume(tell(Effect.void)), Duration.toMillis(watcherGrace)).unref()
          })
        )
        : tell(drained)
    )
  })
