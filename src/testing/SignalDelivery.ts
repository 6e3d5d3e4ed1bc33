/**
 * Delivers signals to simulated processes, as the kernel does (signal(7)).
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as SimulatedKernel from "./SimulatedKernel.ts"

/** The signals that have no effect on a process without a handler for them. */
const ignoredByDefault: ReadonlySet<NodeJS.Signals> = new Set(["SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH"])

/** The signals that stop a process without a handler for them, as the key Ctrl+Z does. */
const stopsByDefault: ReadonlySet<NodeJS.Signals> = new Set(["SIGTSTP", "SIGTTIN", "SIGTTOU"])

const endBy = (process: SimulatedKernel.KernelProcess, signal: NodeJS.Signals) =>
  Effect.suspend(() => {
    if (process.state !== "running") return Effect.void
    process.endedBy = signal
    return process.onSignal[signal === "SIGTERM" ? "SIGTERM" : "SIGKILL"]
  })

/**
 * What the process does with a signal: the action of its own handler, or the default action. `continued` is the number of SIGCONTs
 * when the signal was sent. A stop signal that was sent before the last SIGCONT has no effect any more.
 */
const act = (process: SimulatedKernel.KernelProcess, signal: NodeJS.Signals, continued: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (process.state !== "running") return Effect.void
    const handler = process.handlers.get(signal)
    if (handler !== undefined) return handler
    if (stopsByDefault.has(signal)) return continued === process.continued ? process.gate.close : Effect.void
    return ignoredByDefault.has(signal) ? Effect.void : endBy(process, signal)
  })

/**
 * Sends a signal to a process. Completes at once, so the sender does not wait for the effect of the signal. A process that is
 * stopped by SIGSTOP acts on the signal when it continues, but SIGKILL ends it at once. A process that is blocked in the kernel
 * acts on no signal until it is no longer blocked.
 */
export const deliver = (
  kernel: SimulatedKernel.SimulatedKernel,
  process: SimulatedKernel.KernelProcess,
  signal: NodeJS.Signals
): Effect.Effect<void> =>
  Effect.gen(function*() {
    if (process.state !== "running") return
    yield* SimulatedKernel.note(kernel, process, `gets ${signal}`)
    const { blocked } = process
    const unblocked = <A>(self: Effect.Effect<A>) =>
      blocked === undefined ? self : Effect.asVoid(Effect.forkDaemon(Effect.zipRight(blocked.await, self)))
    if (signal === "SIGKILL") return yield* unblocked(endBy(process, signal))
    if (signal === "SIGSTOP") return yield* unblocked(process.gate.close)
    if (signal === "SIGCONT") {
      process.continued += 1
      yield* process.gate.open
    }
    yield* unblocked(Effect.asVoid(Effect.forkDaemon(process.gate.whenOpen(act(process, signal, process.continued)))))
  })

/** Sends a signal to all processes of a group (kill(2) with a negative pid). */
export const deliverToGroup = (
  kernel: SimulatedKernel.SimulatedKernel,
  { bootId, pidNamespace }: Pick<SimulatedKernel.KernelProcess, "bootId" | "pidNamespace">,
  group: number,
  signal: NodeJS.Signals
): Effect.Effect<void> =>
  Effect.forEach(
    [...kernel.processes].filter((process) =>
      process.group === group && process.bootId === bootId && process.pidNamespace === pidNamespace
    ),
    (process) => deliver(kernel, process, signal),
    { discard: true }
  )
