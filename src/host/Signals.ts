/**
 * Signals to other processes, and who must not get one.
 *
 * A pid alone never names the receiver: pids are given away again. What is sent goes to the process that was recorded, or
 * to nobody.
 *
 * @since 0.1.0
 */
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { readFileSync } from "node:fs"
import { child, output } from "../internal/child.ts"
import { codeOf } from "../internal/errno.ts"
import { memoized } from "../internal/memoized.ts"
import type { ProcessIdentity } from "./ProcessIdentity.ts"
import { parseBootOffsetTicks, parseProcStat } from "./ProcessTable.ts"

/**
 * `SIGTERM` asks to end, `SIGKILL` ends. On Windows both end the process at once.
 *
 * @since 0.1.0
 * @category models
 */
export type Signal = "SIGTERM" | "SIGKILL"

/**
 * Nothing was sent: the process is `Gone` (its number may be another's by now), belongs to another user
 * (`NotPermitted`, `EPERM` of kill(2)), or the system said something else.
 *
 * @since 0.1.0
 * @category errors
 */
export class SignalFailed extends Schema.TaggedError<SignalFailed>("gateway-lock/SignalFailed")("SignalFailed", {
  pid: Schema.Number,
  why: Schema.Literal("Gone", "NotPermitted", "Failed"),
  reason: Schema.String
}) {
  override get message() {
    return `cannot signal pid ${this.pid}: ${this.reason}`
  }
}

/**
 * Signals to other processes, each to the recorded one or to nobody.
 *
 * @since 0.1.0
 * @category tags
 */
export class Signals extends Context.Tag("gateway-lock/Signals")<Signals, {
  /**
   * Signals a process, if it is still the recorded one. On Linux its start time is compared in the very turn of the event
   * loop that sends: between the look and kill(2) there is no other step of this program, and pids are given out in turn.
   * Fails with `SignalFailed`, and then nothing was sent.
   */
  readonly send: (process: ProcessIdentity, signal: Signal) => Effect.Effect<void, SignalFailed>
  /** The pids of our parent, its parent and so on, as far as can be told, nearest first. */
  readonly ancestors: Effect.Effect<ReadonlyArray<number>>
}>() {}

/**
 * What only the process itself can do.
 *
 * @internal
 */
export interface SignalHandle {
  /** As `process.platform` has it. */
  readonly platform: string
  readonly parentPid: number
  /** kill(2): throws an error with `code` `ESRCH` or `EPERM`. */
  readonly kill: (pid: number, signal: Signal) => boolean
  /** Reads a file at once, for the look that must not be apart from the signal. Throws. */
  readonly readFile: (path: string) => string
}

/** How far apart two readings of one start time can be, in clock ticks: the offset of a time namespace is rounded. */
const tolerance = 1

/** How long ps(1) may take. */
const psTimeout = Duration.seconds(2)

/** No chain of parents is longer; a circle, which a pid given away in the middle could close, ends here too. */
const maxAncestors = 128

/**
 * The parent in `/proc/<pid>/stat` (field 4, proc(5)); 0 where it is outside of this PID namespace.
 *
 * @internal
 */
export const parseParent = (stat: string): Option.Option<number> =>
  Option.fromNullable(/^\s+[A-Za-z]\s+(\d+)\s/.exec(stat.slice(stat.lastIndexOf(")") + 1))?.[1]).pipe(
    Option.map(Number)
  )

/**
 * Whether the text of `/proc/<pid>/stat` is of the recorded process. Pure.
 *
 * @internal
 */
export const isRecorded = (stat: string, process: ProcessIdentity, bootOffsetTicks: number): boolean =>
  Option.exists(
    parseProcStat(stat),
    ({ startTicks }) =>
      process.startTime !== undefined
      && Math.abs(Math.max(0, startTicks - bootOffsetTicks) - process.startTime) <= tolerance
  )

type ParentOf = (pid: number) => Effect.Effect<Option.Option<number>>

/** Follows the parents up to the first, which has none. */
const follow = (parentPid: number, parentOf: ParentOf): Effect.Effect<ReadonlyArray<number>> =>
  Effect.gen(function*() {
    const found: Array<number> = []
    for (let pid = parentPid; pid > 0 && found.length < maxAncestors && !found.includes(pid);) {
      found.push(pid)
      pid = Option.getOrElse(yield* parentOf(pid), () => 0)
    }
    return found
  })

/**
 * Signals by what a process can do. Parents are found in `/proc` on Linux, on Windows only our own, and by ps(1) elsewhere.
 *
 * @internal
 */
export const make = (
  handle: SignalHandle
): Effect.Effect<Signals["Type"], never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const context = yield* Effect.context<CommandExecutor.CommandExecutor>()
    const isLinux = handle.platform === "linux"
    const offset = yield* memoized(
      fs.readFileString("/proc/self/timens_offsets").pipe(
        Effect.map(parseBootOffsetTicks),
        Effect.orElseSucceed(() => 0)
      )
    )
    const gone = (pid: number, reason: string) => new SignalFailed({ pid, why: "Gone", reason })

    /** In one step, without a turn of the event loop in between. */
    const sendNow = (process: ProcessIdentity, signal: Signal, bootOffsetTicks: number) =>
      Effect.suspend(() => {
        const { pid } = process
        try {
          if (isLinux && !isRecorded(handle.readFile(`/proc/${pid}/stat`), process, bootOffsetTicks)) {
            return gone(pid, "it is another process by now")
          }
          handle.kill(pid, signal)
          return Effect.void
        } catch (cause) {
          const code = codeOf(cause)
          if (code === "ESRCH" || code === "ENOENT") return gone(pid, "it has ended")
          return new SignalFailed({
            pid,
            why: code === "EPERM" ? "NotPermitted" : "Failed",
            reason: code === "EPERM" ? "it belongs to another user" : code === "" ? String(cause) : code
          })
        }
      })

    const parentFromProc: ParentOf = (pid) =>
      fs.readFileString(`/proc/${pid}/stat`).pipe(Effect.map(parseParent), Effect.orElseSucceed(() => Option.none()))

    const parentFromPs: ParentOf = (pid) =>
      output(child("ps", "-o", "ppid=", "-p", String(pid)), psTimeout).pipe(
        Effect.map((text) => Option.filter(Option.some(Number(text.trim())), Number.isSafeInteger)),
        Effect.orElseSucceed(() => Option.none()),
        Effect.provide(context)
      )

    return Signals.of({
      send: (process, signal) => Effect.flatMap(offset, (offset) => sendNow(process, signal, offset)),
      ancestors: follow(
        handle.parentPid,
        // Asking Windows takes a second for each: the parent has to do.
        isLinux ? parentFromProc : handle.platform === "win32" ? () => Effect.succeedNone : parentFromPs
      )
    })
  })

/**
 * The same as a layer. `layerLive` is the one for this process.
 *
 * @internal
 */
export const layer = (
  handle: SignalHandle
): Layer.Layer<Signals, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> =>
  Layer.effect(Signals, make(handle))

/**
 * This very process.
 *
 * @internal
 */
export const currentProcess = (): SignalHandle => ({
  platform: process.platform,
  parentPid: process.ppid,
  kill: (pid, signal) => process.kill(pid, signal),
  readFile: (path) => readFileSync(path, "utf8")
})

/**
 * kill(2), for this very process.
 *
 * @example
 * import { NodeContext } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import { Host, type LockFile } from "gateway-lock"
 *
 * const ask = (owner: LockFile.OwnerRecord.OwnerRecord) =>
 *   Effect.flatMap(Host.Signals.Signals, ({ send }) => send(owner, "SIGTERM")).pipe(
 *     Effect.catchTag("SignalFailed", ({ message }) => Effect.logWarning(message)),
 *     Effect.provide(Host.Signals.layerLive),
 *     Effect.provide(NodeContext.layer)
 *   )
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<Signals, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> = Layer
  .suspend(() => layer(currentProcess()))
