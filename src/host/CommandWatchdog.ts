/**
 * Watches over the command of `gateway exec` with a lease, from a process of its own. If the wrapper is killed, or stopped for so
 * long that its lease is over, it can no longer stop its command. The watchdog then kills the command and all that it has started.
 */
// A child inherits the environment of this process, not the values of a `ConfigProvider`.
// @effect-diagnostics processEnv:off
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { uptime } from "node:os"
import type { Duplex, Writable } from "node:stream"
import { inherited } from "../internal/child.ts"
import { formatDuration } from "../internal/formatDuration.ts"
import type { StartedChild } from "./ChildProgram.ts"
import { HostPlatform } from "./HostPlatform.ts"
import type { ProcessIdentity } from "./ProcessIdentity.ts"
import { watchdogText } from "./watchdogProgram.ts"

/** The watchdog could not be started, or it has ended while it was needed. */
export class WatchdogFailed
  extends Data.TaggedError("WatchdogFailed")<{ readonly reason: string; readonly cause?: unknown }>
{
  override get message() {
    return `the watchdog of the command ${this.reason}`
  }
}

/** What the watchdog must know about the command. */
export interface GuardedCommand {
  readonly process: ProcessIdentity
  readonly mark: StartedChild["mark"]
  /** Whether the command leads a session of its own, whose processes all belong to it. */
  readonly leadsSession: boolean
}

export interface Watchdog {
  /**
   * The command must have ended after this time from now, or the watchdog kills it then. A later call moves that moment. `left` runs
   * after a look at the clock. So a pause of this process meanwhile makes the moment earlier, never later.
   */
  readonly killAfter: (left: Effect.Effect<Duration.Duration>) => Effect.Effect<void>
  /** From now on, the watchdog guards this command. Completes when the watchdog has confirmed that. */
  readonly guard: (command: GuardedCommand) => Effect.Effect<void, WatchdogFailed>
  /** Never succeeds. Fails if the watchdog ends before the scope of `start` closes. */
  readonly failed: Effect.Effect<never, WatchdogFailed>
}

/** Starts a watchdog, which ends when the scope closes. If this process ends before, the watchdog kills the command. */
export class CommandWatchdog extends Context.Tag("gateway-lock/CommandWatchdog")<CommandWatchdog, {
  readonly start: Effect.Effect<Watchdog, WatchdogFailed, Scope.Scope>
}>() {}

/** How long the watchdog may take to start, and to confirm a command. */
const answerTimeout = Duration.seconds(5)

const isWritable = (stream: unknown): stream is Writable & Duplex =>
  typeof stream === "object" && stream !== null && "write" in stream && "on" in stream

interface Started {
  readonly child: ChildProcess
  readonly control: Writable
  /** Completes when the watchdog has written this word. */
  readonly said: (word: string) => Effect.Effect<void, WatchdogFailed>
  readonly failed: Effect.Effect<never, WatchdogFailed>
}

const launch = (isJson: boolean): Effect.Effect<Started, WatchdogFailed> =>
  Effect.suspend(() => {
    const failed = Deferred.unsafeMake<never, WatchdogFailed>(FiberId.none)
    const fail = (reason: string, cause?: unknown) =>
      Deferred.unsafeDone(
        failed,
        Effect.fail(new WatchdogFailed({ reason, ...(cause === undefined ? {} : { cause }) }))
      )
    const words = new Map<string, Deferred.Deferred<void>>()
    const wordOf = (word: string) => {
      const known = words.get(word) ?? Deferred.unsafeMake<void>(FiberId.none)
      words.set(word, known)
      return known
    }
    try {
      // A session of its own, so that the signals of keys and of a lost terminal do not reach the watchdog.
      const child = spawn(process.execPath, ["-", "gateway exec watchdog"], {
        detached: true,
        cwd: "/",
        env: inherited(process.env),
        stdio: ["pipe", "pipe", "inherit", "pipe"]
      })
      child.on("error", (cause) => fail("could not be started", cause))
      child.on("exit", (status, signal) => fail(`has ended (${signal ?? `status ${status}`})`))
      let text = ""
      child.stdout?.on("error", () => {}).on("data", (data: Buffer) => {
        text += data.toString()
        const lines = text.split("\n")
        text = lines.pop() ?? ""
        for (const line of lines) Deferred.unsafeDone(wordOf(line), Effect.void)
      })
      child.stdin?.on("error", () => {}).end(watchdogText({ parent: process.pid, isJson }))
      const streams: ReadonlyArray<unknown> = child.stdio
      const control = streams[3]
      if (!isWritable(control)) return new WatchdogFailed({ reason: "could not be started: it has no pipe" })
      control.on("error", () => {})
      return Effect.succeed({
        child,
        control,
        failed: Deferred.await(failed),
        said: (word) =>
          Deferred.await(wordOf(word)).pipe(
            Effect.raceFirst(Deferred.await(failed)),
            Effect.timeoutFail({
              duration: answerTimeout,
              onTimeout: () => new WatchdogFailed({ reason: `did not answer within ${formatDuration(answerTimeout)}` })
            })
          )
      })
    } catch (cause) {
      return new WatchdogFailed({ reason: "could not be started", cause })
    }
  })

const orDash = (value: number | string | undefined): string => value === undefined ? "-" : String(value)

/** Starts watchdogs as children of this process. `isJson`: whether the line on stderr about a kill is JSON. */
export const live = (isJson: boolean): Effect.Effect<CommandWatchdog["Type"]> =>
  Effect.map(HostPlatform, (platform) =>
    CommandWatchdog.of({
      start: Effect.gen(function*() {
        const started = yield* Effect.acquireRelease(launch(isJson), ({ child, control }) =>
          Effect.sync(() => {
            control.end("done\n")
            child.unref()
          }))
        const { control, failed, said } = started
        const write = (line: string) =>
          Effect.sync(() => {
            control.write(`${line}\n`)
          })
        yield* said("ready")
        return {
          failed,
          guard: ({ leadsSession, mark, process: { pid, startTime } }) =>
            Effect.zipRight(
              write(
                `guard ${pid} ${orDash(startTime)} ${mark._tag === "None" ? "-" : mark.value} ${
                  leadsSession ? "session" : "-"
                }`
              ),
              said("guards")
            ),
          killAfter: (left) =>
            Effect.gen(function*() {
              const [monotonic, sinceBoot] = [process.hrtime.bigint(), uptime()]
              const after = yield* left
              yield* write(`kill-at ${monotonic + Duration.unsafeToNanos(after)} ${
                // On macOS, the time since boot follows the wall clock.
                platform === "darwin" ? "-" : sinceBoot + Duration.toSeconds(after)}`)
            })
        }
      })
    }))
