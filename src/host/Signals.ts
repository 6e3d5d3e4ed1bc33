/**
 * Sends signals to other processes, and lists the ancestors of this process. `gateway stop` sends no signal to an ancestor,
 * because this process may end with the gateway under which it runs.
 *
 * A pid alone does not identify the receiver, because the kernel reuses pids. So a signal is sent only if the process with that
 * pid still has the start time that was recorded.
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
import { readFileSync } from "node:fs"
import { child, output } from "../internal/child.ts"
import { codeOf } from "../internal/errno.ts"
import { memoized } from "../internal/memoized.ts"
import type { ProcessIdentity } from "./ProcessIdentity.ts"
import { parseBootOffsetTicks, parseParent, parseProcStat } from "./ProcessTable.ts"
import { SignalFailed } from "./SignalFailed.ts"

/**
 * `SIGTERM` asks a process to end, `SIGKILL` ends it, and `SIGSTOP` suspends it. On Windows the first two end the process at once,
 * and `SIGSTOP` fails.
 *
 * @since 0.1.0
 * @category models
 */
export type Signal = "SIGTERM" | "SIGKILL" | "SIGSTOP"

export { SignalFailed } from "./SignalFailed.ts"

/**
 * Sends a signal to the process whose pid and start time were recorded, and never to another process that got the same pid.
 *
 * @since 0.1.0
 * @category tags
 */
export class Signals extends Context.Tag("gateway-lock/Signals")<Signals, {
  /**
   * Sends a signal if the pid still belongs to the recorded process. If `send` fails with `SignalFailed`, no signal was sent.
   *
   * On Linux the start time is compared in the same turn of the event loop as kill(2), so no other code of this process runs
   * between the comparison and the signal. The kernel gives out pids in sequence, so it does not reuse this pid within that short
   * time.
   */
  readonly send: (process: ProcessIdentity, signal: Signal) => Effect.Effect<void, SignalFailed>
  /** The pids of this process's parent, grandparent and so on, nearest first, as far as the system shows them. */
  readonly ancestors: Effect.Effect<ReadonlyArray<number>>
}>() {}

/**
 * The operations of the current process that signalling needs. Tests replace them.
 *
 * @internal
 */
export interface SignalHandle {
  /** A value of `process.platform`. */
  readonly platform: string
  readonly parentPid: number
  /** Sends a signal with kill(2). If kill(2) fails, throws an error whose `code` is the errno, such as `ESRCH` or `EPERM`. */
  readonly kill: (pid: number, signal: Signal) => boolean
  /**
   * Reads a file synchronously, because no other code may run between the check of the start time and the signal. Throws if the
   * file cannot be read.
   */
  readonly readFile: (path: string) => string
}

/**
 * How far two readings of one start time can differ, in clock ticks. They can differ because the offset of a time namespace is
 * rounded.
 */
const tolerance = 1

/** How long ps(1) may take. */
const psTimeout = Duration.seconds(2)

/** The most ancestors to list. The kernel may reuse pids during the search. The limit keeps the search short even then. */
const maxAncestors = 128

/**
 * Whether the start time in `stat` (the text of `/proc/<pid>/stat`) equals the recorded start time of `process`, within
 * `tolerance`. Pure.
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

/** Collects the pids of a parent, of its parent and so on, up to a process that has no parent. */
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
 * Makes `Signals` from the operations of a process. Linux reads parents from `/proc`, other Unix systems from ps(1). On
 * Windows only the parent of this process is known.
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

    /** On Linux, checks the process and signals it in one synchronous step, which is too short for the kernel to reuse the pid. */
    const sendNow = (process: ProcessIdentity, signal: Signal, bootOffsetTicks: number) =>
      Effect.suspend(() => {
        const { pid } = process
        try {
          if (isLinux && !isRecorded(handle.readFile(`/proc/${pid}/stat`), process, bootOffsetTicks)) {
            return gone(pid, "the pid now belongs to another process")
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
        // On Windows each parent would take a PowerShell query of about a second, so only the direct parent is listed.
        isLinux ? parentFromProc : handle.platform === "win32" ? () => Effect.succeedNone : parentFromPs
      )
    })
  })

/**
 * `make` as a layer. `layerLive` is the layer for this process.
 *
 * @internal
 */
export const layer = (
  handle: SignalHandle
): Layer.Layer<Signals, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> =>
  Layer.effect(Signals, make(handle))

/**
 * The operations of this process.
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
 * Makes the operations of this process without a layer.
 *
 * @internal
 */
export const makeLive = Effect.suspend(() => make(currentProcess()))

/**
 * Sends signals from this process with kill(2).
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
