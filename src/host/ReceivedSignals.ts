/**
 * Receives the signals that are sent to this process, so that `gateway exec` can relay them to the program that it started.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { readFileSync } from "node:fs"
import { acquire } from "../internal/onClose.ts"

/**
 * How this process is connected to a terminal.
 *
 * - `None`: it has no controlling terminal.
 * - `Foreground`: its process group gets the signals of the terminal's keys, such as Ctrl+C.
 * - `Background`: it has a terminal, but its process group is in the background.
 *
 * @since 0.1.0
 * @category models
 */
export type Terminal = "None" | "Foreground" | "Background"

/**
 * The signals that this process receives.
 *
 * @since 0.1.0
 * @category tags
 */
export class ReceivedSignals extends Context.Tag("gateway-lock/ReceivedSignals")<ReceivedSignals, {
  /** Receives these signals until the scope closes. Until then, none of them has its default action. */
  readonly listen: (
    signals: ReadonlyArray<NodeJS.Signals>
  ) => Effect.Effect<Queue.Dequeue<NodeJS.Signals>, never, Scope.Scope>
  /** How this process is connected to a terminal now. A shell can move it to the background and back. */
  readonly terminal: Effect.Effect<Terminal>
}>() {}

/**
 * Reads three fields of `/proc/<pid>/stat` (proc_pid_stat(5)): pgrp (5), tty_nr (7) and tpgid (8). Pure.
 *
 * @internal
 */
export const parseTerminal = (stat: string): Terminal => {
  const [, , group, , terminal, foreground] = stat.slice(stat.lastIndexOf(")") + 1).trim().split(/\s+/)
  if (group === undefined || terminal === undefined || terminal === "0") return "None"
  return group === foreground ? "Foreground" : "Background"
}

/**
 * How this process is connected to a terminal now. Without `/proc` (macOS) the result is a guess: `Foreground` if one of the
 * standard streams is a terminal, otherwise `None`.
 */
const terminalNow = (): Terminal => {
  try {
    return parseTerminal(readFileSync("/proc/self/stat", "utf8"))
  } catch {
    return [process.stdin, process.stdout, process.stderr].some(({ isTTY }) => isTTY === true) ? "Foreground" : "None"
  }
}

/**
 * Receives signals by listeners on Node's `process` object.
 *
 * @internal
 */
export const live: ReceivedSignals["Type"] = ReceivedSignals.of({
  listen: (signals) =>
    Effect.gen(function*() {
      const queue = yield* Queue.unbounded<NodeJS.Signals>()
      const onSignal = (signal: NodeJS.Signals) => {
        queue.unsafeOffer(signal)
      }
      yield* acquire(
        Effect.sync(() => {
          for (const signal of signals) process.on(signal, onSignal)
        }),
        () =>
          Effect.sync(() => {
            for (const signal of signals) process.off(signal, onSignal)
          })
      )
      return queue
    }),
  terminal: Effect.sync(terminalNow)
})
/**
 * `live` as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<ReceivedSignals> = Layer.succeed(ReceivedSignals, live)
